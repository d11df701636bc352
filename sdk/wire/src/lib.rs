//! Sidelock's frames: the SDKs' protocol, its types and its codec.
