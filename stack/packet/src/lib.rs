//! Packet input and output: AF_XDP, TPACKET_V3, batched UDP, pcapng; the only unsafe.
