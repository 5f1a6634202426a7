//! SIP messages: bytes to values and back, lossless and lazy; URIs; digest.
