//! What a WebAssembly file is, read from its bytes before anything of it is compiled; shared with the build script.

use wasmparser::{Encoding, Parser, Payload, Validator};
use wit_component::ComponentEncoder;

/// The package whose interfaces the host offers, and the track of its version that it offers them on.
const PACKAGE: &str = "layerwright:plugin/";
const TRACK: &str = "0.1.";

/// What one plugin can be; a component exports the interface of exactly one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum World {
    /// Handles Dockerfile instructions.
    InstructionHandler,
    /// Provides credentials.
    AuthProvider,
    /// Chooses where images are pulled from.
    MirrorResolver,
}

/// An interface that a plugin may import.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Import {
    /// Words that every world shares.
    Types,
    /// What instructions are lowered to.
    Operation,
    /// Messages for the user.
    Log,
    /// Looks at files of the build.
    Inspect,
    /// The time of day.
    Clock,
    /// Environment variables.
    Env,
    /// Files of this machine.
    Files,
    /// Requests to hosts.
    Http,
    /// Docker's credential helpers.
    CredentialHelper,
}

/// The outside of a component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The world that it is written for.
    pub world: World,
    /// The interfaces of ours that it imports, sorted.
    pub imports: Vec<Import>,
    /// The interfaces of WASI that it imports, by full name.
    pub wasi: Vec<String>,
}

/// Why a file is not a plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShapeError {
    /// Neither a component nor a module.
    Malformed(String),
    /// It imports something that the host does not have.
    ForeignImport(String),
    /// It imports an interface that its world does not have.
    OutsideWorld(World, Import),
    /// It is of another version of the API; holds the interface's full name.
    OtherVersion(String),
    /// It exports no world's interface; holds what it exports instead.
    WrongWorld(Vec<String>),
    /// It exports more than one world's interface.
    TwoWorlds(World, World),
}

impl World {
    /// Its name in `wit/worlds.wit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::InstructionHandler => "instruction-handler",
            Self::AuthProvider => "auth-provider",
            Self::MirrorResolver => "mirror-resolver",
        }
    }

    fn of_export(interface: &str) -> Option<Self> {
        match interface {
            "instruction" => Some(Self::InstructionHandler),
            "auth" => Some(Self::AuthProvider),
            "mirror" => Some(Self::MirrorResolver),
            _ => None,
        }
    }

    fn offers(self, import: Import) -> bool {
        use Import::{Clock, CredentialHelper, Env, Files, Http, Inspect, Log, Operation, Types};
        match import {
            Types | Log => true,
            Operation | Inspect => self == Self::InstructionHandler,
            Env | Files | Http => self != Self::InstructionHandler,
            Clock | CredentialHelper => self == Self::AuthProvider,
        }
    }
}

impl Import {
    /// The interface's name without package and version.
    pub fn name(self) -> &'static str {
        match self {
            Self::Types => "types",
            Self::Operation => "operation",
            Self::Log => "log",
            Self::Inspect => "inspect",
            Self::Clock => "clock",
            Self::Env => "env",
            Self::Files => "files",
            Self::Http => "http",
            Self::CredentialHelper => "credential-helper",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Types, Self::Operation, Self::Log, Self::Inspect, Self::Clock, Self::Env, Self::Files, Self::Http, Self::CredentialHelper]
            .into_iter()
            .find(|import| import.name() == name)
    }
}

/// Whether the bytes are a core module, which has yet to be made a component.
pub fn is_module(bytes: &[u8]) -> Result<bool, ShapeError> {
    match Parser::new(0).parse_all(bytes).next() {
        Some(Ok(Payload::Version { encoding, .. })) => Ok(encoding == Encoding::Module),
        Some(Err(error)) => Err(malformed(&error)),
        _ => Err(ShapeError::Malformed("the file is empty".to_owned())),
    }
}

/// Turns a core module that was built with the plugin bindings into a component.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, ShapeError> {
    // The encoder trusts its input: a section that ends too early makes it panic, and so may what a section of the bindings holds.
    Validator::new().validate_all(module).map_err(|error| malformed(&error))?;
    let encode = || ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    let failed = |why: String| ShapeError::Malformed(format!("the module cannot be made a component: {why}"));
    match std::panic::catch_unwind(encode) {
        Ok(encoded) => encoded.map_err(|error| failed(format!("{error:#}"))),
        Err(_) => Err(failed("what it says of its interfaces is damaged".to_owned())),
    }
}

/// Reads what a component imports and exports.
pub fn read(component: &[u8]) -> Result<Shape, ShapeError> {
    let (imports, exports) = outside(component)?;
    let mut found = Vec::new();
    let mut wasi = Vec::new();
    for name in imports {
        if name.starts_with("wasi:") {
            wasi.push(name);
            continue;
        }
        match ours(&name)? {
            Some(interface) => match Import::named(interface) {
                Some(import) => found.push(import),
                None => return Err(ShapeError::ForeignImport(name)),
            },
            None => return Err(ShapeError::ForeignImport(name)),
        }
    }
    found.sort_unstable();
    found.dedup();

    let mut world = None;
    for name in &exports {
        let Some(next) = ours(name)?.and_then(World::of_export) else { continue };
        if let Some(first) = world.replace(next) {
            return Err(ShapeError::TwoWorlds(first, next));
        }
    }
    let Some(world) = world else { return Err(ShapeError::WrongWorld(exports)) };
    if let Some(&import) = found.iter().find(|import| !world.offers(**import)) {
        return Err(ShapeError::OutsideWorld(world, import));
    }
    Ok(Shape { world, imports: found, wasi })
}

/// The bare name of an interface of our package; none for another package's.
fn ours(name: &str) -> Result<Option<&str>, ShapeError> {
    let Some(rest) = name.strip_prefix(PACKAGE) else { return Ok(None) };
    match rest.split_once('@') {
        Some((interface, version)) if version.starts_with(TRACK) => Ok(Some(interface)),
        _ => Err(ShapeError::OtherVersion(name.to_owned())),
    }
}

/// The names of the outermost component's imports and exports.
fn outside(component: &[u8]) -> Result<(Vec<String>, Vec<String>), ShapeError> {
    let mut depth = 0_usize;
    let mut imports = Vec::new();
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| malformed(&error))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth = depth.saturating_add(1),
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(|error| malformed(&error))?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(|error| malformed(&error))?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

fn malformed(error: &wasmparser::BinaryReaderError) -> ShapeError {
    // The parser prints bytes on lines of their own.
    ShapeError::Malformed(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

impl std::fmt::Display for ShapeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "not a WebAssembly component: {why}"),
            Self::ForeignImport(name) => write!(f, "it imports `{name}`, which the host does not offer"),
            Self::OutsideWorld(world, import) => {
                write!(f, "it imports `{}`, which the world `{}` does not have", import.name(), world.name())
            }
            Self::OtherVersion(name) => write!(f, "it needs `{name}`; this host offers {PACKAGE}*@{TRACK}x"),
            Self::WrongWorld(exports) if exports.is_empty() => {
                f.write_str("it exports nothing; a plugin exports `instruction`, `auth` or `mirror` of layerwright:plugin")
            }
            Self::WrongWorld(exports) => {
                write!(f, "it exports {}; a plugin exports `instruction`, `auth` or `mirror` of layerwright:plugin", exports.join(", "))
            }
            Self::TwoWorlds(first, second) => {
                write!(f, "it is written for two worlds, `{}` and `{}`; a plugin has one", first.name(), second.name())
            }
        }
    }
}

impl std::error::Error for ShapeError {}
