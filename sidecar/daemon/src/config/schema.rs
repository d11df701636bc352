//! The JSON Schema of the settings, for editors and for checks in a pipeline.
//!
//! Owns how durations are described, and the frame of the document. Everything else is derived from [`Config`], so that
//! no setting can be forgotten. Must not know where settings come from.

use super::Config;
use super::humane::{MaybeSpan, Span};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use std::borrow::Cow;

/// The schema of the TOML file (draft 2020-12), with every section in its place instead of references.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>();
    schema.insert("title".into(), "Sidelock's settings".into());
    schema.insert(
        "description".into(),
        "The TOML file of `sidelock serve --config`. Flags win over the environment (SIDELOCK_TENURE_TTL is tenure.ttl), \
         the environment wins over this file. Byte counts are whole numbers; durations have a unit."
            .into(),
    );
    schema.to_value()
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]+(ms|s|m|h|d))+$",
            "examples": ["500ms", "30s", "5m", "24h", "7d", "1m30s"],
        })
    }
}

impl JsonSchema for MaybeSpan {
    fn schema_name() -> Cow<'static, str> {
        Span::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Span::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Class, DEFAULT_TOML, Limits, Redis, Tenure};
    use serde::de::DeserializeOwned;
    use std::collections::BTreeSet;

    /// What the parser knows, by what it says when it is given something else.
    fn known<T: DeserializeOwned>() -> BTreeSet<String> {
        let error = toml::from_str::<T>("no-such-setting = 1").err().expect("there is none of that name");
        let message = error.message().to_owned();
        let (_, allowed) = message.split_once("expected one of ").expect("it says what there is");
        allowed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn described(section: &Value) -> BTreeSet<String> {
        section["properties"].as_object().expect("a section").keys().cloned().collect()
    }

    #[test]
    fn the_schema_has_what_the_parser_takes_and_nothing_else() {
        let schema = schema();
        let section = |name: &str| &schema["properties"][name];
        assert_eq!(described(&schema), known::<Config>());
        assert_eq!(described(section("redis")), known::<Redis>());
        assert_eq!(described(section("tenure")), known::<Tenure>());
        assert_eq!(described(section("limits")), known::<Limits>());
        assert_eq!(described(&section("class")["items"]), known::<Class>());
        for part in
            [&schema, section("redis"), section("tenure"), section("limits"), &section("class")["items"]]
        {
            assert_eq!(part["additionalProperties"], false, "unknown settings are errors: {part}");
            for (name, setting) in part["properties"].as_object().expect("a section") {
                assert!(setting["description"].is_string(), "{name} is not explained: {setting}");
            }
        }
    }

    #[test]
    fn its_defaults_are_the_defaults_and_durations_say_their_units() {
        let schema = schema();
        let limits = &schema["properties"]["limits"]["properties"];
        assert_eq!(limits["key_bytes_max"]["default"], 512);
        let ttl = &schema["properties"]["tenure"]["properties"]["ttl"];
        assert_eq!((&ttl["default"], &ttl["type"]), (&"10s".into(), &"string".into()));
        assert!(ttl["pattern"].as_str().is_some_and(|pattern| pattern.contains("ms|s|m|h|d")), "{ttl}");
    }

    #[test]
    fn the_commented_file_names_every_setting() {
        let schema = schema();
        for section in ["tenure", "limits", "redis"] {
            for name in described(&schema["properties"][section]) {
                let offered = DEFAULT_TOML
                    .lines()
                    .any(|line| line.trim_start_matches('#').starts_with(&format!("{name} =")));
                assert!(offered, "{section}.{name}");
            }
        }
    }
}
