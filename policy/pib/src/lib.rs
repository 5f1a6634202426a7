//! COPS-PR named data (RFC 3084), Framework and DiffServ PIBs as data.
