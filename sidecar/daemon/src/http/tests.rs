//! Route-level tests.
