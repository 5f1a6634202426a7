//! Ranked routes by longest prefix.
