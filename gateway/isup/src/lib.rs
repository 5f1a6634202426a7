//! ISUP (Q.763) and MTP3 messages; Q.850 causes.
