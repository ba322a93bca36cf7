//! The Redshift Data API stand-in.
