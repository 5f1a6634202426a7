//! Call detail records from the usage of both ends.
