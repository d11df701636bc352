//! What is loaded, and what is refused with a reason.

use crate::guest::{Guest, component_of, says_no};
use crate::support::{Shelf, alone, decide, host, load, request};
use sidelock_policy::{Bounds, Chain, Digest, Fault, NoCode, Settings, Unfit, WIT, Why, World, componentize};
use std::sync::Arc;

/// Why this is not loaded.
fn refused(bytes: &[u8], change: impl FnOnce(&mut Settings)) -> Why {
    let shelf = Shelf::new();
    let mut settings = shelf.put("guest", bytes);
    change(&mut settings);
    let refused = load(vec![settings]).err().expect("refused");
    assert_eq!(&*refused.policy, "guest");
    refused.why
}

fn as_they_are(_: &mut Settings) {}

#[test]
fn what_is_no_component_is_refused() {
    assert!(matches!(refused(b"", as_they_are), Why::Code(NoCode::NoComponent)));
    assert!(matches!(refused(b"(component)", as_they_are), Why::Code(NoCode::NoComponent)));
    let core = Guest::new().policy_module();
    assert!(matches!(refused(&core, as_they_are), Why::Code(NoCode::CoreModule)));
    let mut broken = Guest::new().policy();
    broken.truncate(broken.len() - 10);
    assert!(matches!(refused(&broken, as_they_are), Why::Code(NoCode::Invalid(_))));
    let missing = load(vec![Settings::at("/nowhere/guest.wasm")]).err().unwrap();
    assert!(missing.to_string().starts_with("policy guest: /nowhere/guest.wasm: "), "{missing}");
}

#[test]
fn a_component_of_another_world_is_refused_with_what_it_is() {
    let empty = wat::parse_str("(component)").unwrap();
    let Why::Code(NoCode::World(found)) = refused(&empty, as_they_are) else { panic!("another reason") };
    assert!(found.contains("neither"), "{found}");
    let newer = wat::parse_str(
        r#"(component (component $c) (instance $i (instantiate $c)) (export "sidelock:policy/admission@0.2.0" (instance $i)))"#,
    );
    let Why::Code(NoCode::World(found)) = refused(&newer.unwrap(), as_they_are) else {
        panic!("another reason")
    };
    assert!(found.contains("@0.2.0") && found.contains("@0.1.0"), "{found}");
    let foreign = wat::parse_str(r#"(component (import "vendor:kms/keys" (instance)))"#).unwrap();
    assert!(matches!(refused(&foreign, as_they_are), Why::Code(NoCode::World(_))));
}

#[test]
fn a_policy_that_needs_what_there_is_not_is_refused_with_its_name() {
    let import = r#"(import "vendor:kms/keys" "sign" (func))"#;
    let module = Guest::new().imports(import).policy_module();
    let kms = "package vendor:kms; interface keys { sign: func(); }";
    let component =
        component_of(&module, &[WIT, kms], "include sidelock:policy/policy@0.1.0; import vendor:kms/keys;");
    let why = refused(&component, as_they_are);
    assert_eq!(why.to_string(), "it imports `vendor:kms/keys`, which a policy does not have");
}

#[test]
fn functions_of_other_types_are_refused_when_it_is_loaded() {
    let module = wat::parse_str(
        r#"(module (memory (export "memory") 1)
             (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
             (func (export "sidelock:policy/settings@0.1.0#validate") (result i32) unreachable)
             (func (export "sidelock:policy/admission@0.1.0#admit") (result i32) unreachable))"#,
    );
    let other = "package sidelock:policy@0.1.0;
        interface settings { validate: func() -> u32; }
        interface admission { admit: func() -> u32; }";
    let world = "export sidelock:policy/settings@0.1.0; export sidelock:policy/admission@0.1.0;";
    let component = component_of(&module.unwrap(), &[other], world);
    let Why::Unfit(Unfit::Types(why)) = refused(&component, as_they_are) else { panic!("another reason") };
    assert!(why.contains("settings"), "{why}");
}

#[test]
fn only_the_component_that_is_pinned_is_loaded() {
    let component = Guest::new().policy();
    let right = Digest::of(&component);
    let wrong = Digest::of(b"");
    let Why::Digest { wanted, found } = refused(&component, |settings| settings.sha256 = Some(wrong)) else {
        panic!("another reason")
    };
    assert_eq!((wanted, found), (wrong, right));
    let chain = alone(&Guest::new(), |settings| settings.sha256 = Some(right));
    assert_eq!(chain.inspect()[0].sha256, right);
}

#[test]
fn settings_that_the_policy_refuses_are_told_in_its_own_words() {
    let mut guest = Guest::new();
    let text = guest.text("`prefixes` is missing");
    let guest = guest.validate(&says_no(text, true));
    let why = refused(&guest.policy(), as_they_are);
    assert_eq!(why.to_string(), "settings: `prefixes` is missing");
    let mut guest = Guest::new();
    let text = guest.text("no such mode");
    let guest = guest.configure(&says_no(text, false));
    assert!(matches!(refused(&guest.policy(), as_they_are), Why::Unfit(Unfit::Fault(Fault::Settings(_)))));
    let guest = Guest::new().wants(&["n/soon"]);
    assert!(refused(&guest.policy(), as_they_are).to_string().contains("500ms 30s"));
}

#[test]
fn what_the_operator_says_is_checked() {
    let component = Guest::new().policy();
    let told = |change: fn(&mut Settings)| refused(&component, change).to_string();
    assert!(told(|settings| settings.memory = Some(129 << 20)).contains("`memory`"));
    assert!(told(|settings| settings.deadline = Some(std::time::Duration::ZERO)).contains("`deadline`"));
    assert!(told(|settings| settings.timezone = "Mars/Olympus".into()).contains("Mars/Olympus"));
    assert!(told(|settings| settings.operations.clear()).contains("`ops`"));
    let small = refused(&component, |settings| settings.memory = Some(65_536));
    assert!(
        matches!(small, Why::Unfit(Unfit::Fault(Fault::Memory { wanted: 131_072, allowed: 65_536 }))),
        "{small}"
    );
    let shelf = Shelf::new();
    let twice = vec![shelf.put("guest", &component), shelf.put("guest", &component)];
    assert!(load(twice).err().unwrap().to_string().contains("two of this name"));
    let many = (0..33).map(|n| shelf.put(&format!("p{n}"), &component)).collect();
    assert!(load(many).err().unwrap().to_string().contains("policy p32: there are 32"));
    let prepared = |wanted: &[Option<u32>]| {
        let one = |(n, wanted): (usize, &Option<u32>)| Settings {
            prepared: *wanted,
            ..shelf.put(&format!("q{n}"), &component)
        };
        load(wanted.iter().enumerate().map(one).collect()).err().map(|error| error.to_string())
    };
    assert_eq!(prepared(&[Some(128), None, Some(112)]), None, "nothing is left for who says nothing");
    let absurd = prepared(&[Some(u32::MAX), Some(u32::MAX)]).unwrap();
    assert!(absurd.contains("policy q0: `prepared`: at most 128"), "{absurd}");
    let said = prepared(&[Some(128), Some(112), Some(1)]).unwrap();
    assert!(
        said.contains("policy q2") && said.contains("241 with those") && said.contains("at most 240"),
        "{said}"
    );
}

#[test]
fn what_is_known_of_a_policy_can_be_looked_at() {
    let chain = alone(&Guest::new().pages(3), |settings| settings.prepared = Some(2));
    let [known] = &chain.inspect()[..] else { panic!("one policy") };
    assert_eq!(
        (&*known.name, known.world, known.memory, known.prepared),
        ("guest", World::Policy, 3 * 65_536, (2, 2))
    );
    assert!(known.bytes > 1_000 && known.machine_code > 1_000 && !known.fresh.is_zero() && !known.rests);
    let expected = ["sidelock:policy/types@0.1.0", "sidelock:policy/host@0.1.0"];
    assert!(known.imports.iter().all(|import| expected.contains(&import.as_str())), "{:?}", known.imports);
}

#[test]
fn a_component_stays_one_and_what_is_no_policy_becomes_none() {
    let component = Guest::new().policy();
    assert_eq!(componentize(&component).as_ref(), Ok(&component));
    let other = wat::parse_str("(module)").unwrap();
    assert!(componentize(&other).unwrap_err().to_string().contains("it is no policy"));
    assert!(componentize(b"text").unwrap_err().to_string().contains("no WebAssembly module"));
}

#[test]
fn machine_code_is_kept_and_only_ours_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let shelf = Shelf::new();
    let settings = shelf.put("guest", &Guest::new().denies("no", "no").policy());
    let load = || {
        let host = sidelock_policy::Host::new(Some(cache.clone())).unwrap();
        Chain::load(&host, vec![settings.clone()], Bounds::default(), None).unwrap()
    };
    let denied = |chain: &Arc<Chain>| decide(chain, request("k")).denied.is_some();
    let first = load();
    assert!(!first.inspect()[0].precompiled && denied(&first));
    let second = load();
    assert!(second.inspect()[0].precompiled && denied(&second));
    let [file] = &files(&cache)[..] else { panic!("one file: {:?}", files(&cache)) };
    // Whoever may write to it could have put other code there.
    set_mode(file, 0o660);
    assert!(!load().inspect()[0].precompiled, "a file that others may write to");
    set_mode(&files(&cache)[0], 0o600);
    set_mode(&cache, 0o777);
    assert!(!load().inspect()[0].precompiled, "a folder that others may write to");
    set_mode(&cache, 0o700);
    assert!(load().inspect()[0].precompiled);
    let other = folder.path().join("other");
    std::fs::rename(file, &other).unwrap();
    std::os::unix::fs::symlink(&other, file).unwrap();
    assert!(!load().inspect()[0].precompiled, "a link to somewhere else");
    std::fs::write(&files(&cache)[0], b"\x7fELF and nothing else").unwrap();
    let mended = load();
    assert!(!mended.inspect()[0].precompiled && denied(&mended), "broken code is compiled anew");
    assert!(load().inspect()[0].precompiled, "and takes its place");
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn the_same_file_is_compiled_once() {
    let shelf = Shelf::new();
    let settings = shelf.put("guest", &Guest::new().policy());
    let first = load(vec![settings.clone()]).unwrap();
    let changed = Settings { memory: Some(4 << 20), ..settings };
    let second = Chain::load(host(), vec![changed], Bounds::default(), Some(&first)).unwrap();
    assert_eq!(first.inspect()[0].compiled_in, second.inspect()[0].compiled_in, "not measured twice");
}
