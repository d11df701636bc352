//! The sidecar as a library: doors, sessions, driver, config, metrics, drain.
