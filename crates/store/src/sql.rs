//! SQL texts that both databases read.
