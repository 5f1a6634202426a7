//! Moments, timestamps, timer wheel, seeded randomness.
