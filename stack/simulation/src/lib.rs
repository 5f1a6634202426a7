//! Seeded network on a virtual clock, for tests.
