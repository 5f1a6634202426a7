//! The software router.
