//! RTP and RTCP views, jitter buffer, G.711, DTMF, quality.
