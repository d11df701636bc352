//! Generates the other languages' half of this library: `uniffi-bindgen generate LIBRARY --language L --out-dir DIR`.

fn main() {
    uniffi::uniffi_bindgen_main();
}
