//! The S/MIME form.
