//! Agents against each other, and against scripts, over the simulated network.

mod calls;
mod registration;
mod requests;
mod world;
