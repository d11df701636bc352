//! The Store contract's two implementations: memory and Redis, and their conformance suite.
