//! Stub.
pub async fn status(_: &str, _: bool) -> anyhow::Result<()> { Ok(()) }
pub async fn ledger(_: &str, _: bool) -> anyhow::Result<()> { Ok(()) }
pub async fn calls(_: &str, _: bool) -> anyhow::Result<()> { Ok(()) }
pub async fn cdrs(_: &str, _: bool, _: u32) -> anyhow::Result<()> { Ok(()) }
pub async fn transfers(_: &str, _: bool, _: u32) -> anyhow::Result<()> { Ok(()) }
