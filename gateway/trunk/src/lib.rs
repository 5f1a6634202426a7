//! E1 circuits, tones, and the simulated exchange at their far end.
