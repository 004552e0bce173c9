//! Styles, scripts and the icon of the pages: part of the program, named by their content.
//!
//! An address holds the hash of the content, so a browser may keep the content forever, and a new
//! version of the program never meets an old style.
//!
//! Scripts are ES modules. In the source, a module imports another one, of its service or of this
//! folder, as `'./name.js'`. That is replaced by the address with the hash before the module itself
//! is hashed, so the address of a module changes with everything that it imports. There is no
//! import map, because the security policy allows nothing inline.

use std::{borrow::Cow, iter, mem};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

use crate::http::{is_unchanged, problems};

const PREFIX: &str = "/assets/";

/// Characters of the hash in an address.
const HASH_LEN: usize = 12;

/// A resource of a page, as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    pub content_type: &'static str,
    pub cache_control: &'static str,
    /// In quotes; weak, because the asset may be compressed.
    pub etag: &'static str,
    pub bytes: &'static [u8],
}

/// A file that becomes a resource of a page.
#[derive(Debug)]
pub struct AssetFile {
    pub name: &'static str,
    pub bytes: &'static [u8],
}

/// Lists files of the folder `assets` next to the calling file, as an array of
/// [`AssetFile`](crate::web::AssetFile).
#[macro_export]
macro_rules! asset_files {
    ($($name:literal),+ $(,)?) => {
        [$($crate::web::AssetFile {
            name: $name,
            bytes: include_bytes!(concat!("assets/", $name)),
        }),+]
    };
}

/// Files of others, unmodified; `assets/vendor/README.md` names them. Only the flow page loads them.
const VENDORED: [AssetFile; 2] = [
    AssetFile { name: "uplot.css", bytes: include_bytes!("assets/vendor/uPlot.min.css") },
    AssetFile { name: "uplot.js", bytes: include_bytes!("assets/vendor/uPlot.iife.min.js") },
];

/// The resources of a service's pages.
#[derive(Debug)]
pub struct Assets(Vec<Embedded>);

/// A resource that is part of the program.
#[derive(Debug)]
struct Embedded {
    name: &'static str,
    content_type: &'static str,
    bytes: Cow<'static, [u8]>,
    url: String,
    etag: String,
    /// The names of all modules that this one needs.
    imports: Vec<&'static str>,
}

impl Assets {
    /// Returns a service's own assets and those that all services share.
    ///
    /// # Panics
    ///
    /// Panics if a module imports a missing one, or if modules import each other in a cycle.
    #[must_use]
    pub fn with(own: impl IntoIterator<Item = AssetFile>) -> Self {
        let shared = asset_files![
            "address.js",
            "app.css",
            "chart.js",
            "copy.js",
            "docs.css",
            "docs.js",
            "dom.js",
            "favicon.svg",
            "flow.css",
            "flow.js",
            "live.js",
            "measures.js",
            "record_calls.js",
            "record_edit.js",
            "record_replays.js",
            "rejected_page.js",
            "visible.js",
            "words.js",
        ];
        let mut assets = Self(Vec::new());
        let mut rest: Vec<AssetFile> = shared.into_iter().chain(VENDORED).chain(own).collect();
        // A module needs the addresses of its imports, so those come first.
        while !rest.is_empty() {
            let files = mem::take(&mut rest);
            let before = assets.0.len();
            for file in files {
                if file.imports().all(|name| assets.named(name).is_some()) {
                    assets.0.push(Embedded::new(&file, &assets));
                } else {
                    rest.push(file);
                }
            }
            assert!(assets.0.len() > before, "an import is missing or in a cycle: {rest:?}");
        }
        assets
    }

    fn named(&self, name: &str) -> Option<&Embedded> {
        self.0.iter().find(|one| one.name == name)
    }

    /// Returns the address of an asset, given its name without a hash.
    #[must_use]
    pub fn url(&self, name: &str) -> &str {
        &self.named(name).expect("templates name only embedded assets").url
    }

    /// Returns the addresses of all modules that the module `name` needs.
    pub fn imports(&self, name: &str) -> impl Iterator<Item = &str> {
        let module = self.named(name).expect("templates name only embedded assets");
        module.imports.iter().map(|name| self.url(name))
    }

    /// Returns the asset at a path such as `/assets/app.0123456789ab.css`.
    #[must_use]
    pub fn find(&'static self, path: &str) -> Option<Asset> {
        let (stem, extension) = path.strip_prefix(PREFIX)?.rsplit_once('.')?;
        let (stem, hash) = stem.rsplit_once('.')?;
        let embedded =
            self.0.iter().find(|one| one.name.rsplit_once('.') == Some((stem, extension)))?;
        // During an update, a page of one version may ask a replica of another for its style. That
        // style is better than none, but must not be cached under this name.
        let is_current = hash.len() == HASH_LEN && embedded.etag.contains(hash);
        Some(Asset {
            content_type: embedded.content_type,
            cache_control: if is_current {
                "public, max-age=31536000, immutable"
            } else {
                "no-store"
            },
            etag: &embedded.etag,
            bytes: &embedded.bytes,
        })
    }

    /// Returns the answer to `GET /assets/{name}`.
    #[must_use]
    pub fn answer(&'static self, name: &str, request: &HeaderMap) -> Response {
        let Some(asset) = self.find(&format!("{PREFIX}{name}")) else {
            return problems::NO_SUCH_PAGE.into_response();
        };
        let headers = [(header::CACHE_CONTROL, asset.cache_control), (header::ETAG, asset.etag)];
        if is_unchanged(request, asset.etag.as_bytes()) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, [(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
    }

    /// Returns the names of the texts that a module and its imports use: `x` for each `words.x`.
    /// A test of each page asserts that it has these texts.
    #[must_use]
    pub fn texts_used(&self, module: &str) -> Vec<&str> {
        let module = self.named(module).expect("the module is embedded");
        let imports = module.imports.iter().filter_map(|name| self.named(name));
        let scripts = iter::once(module).chain(imports);
        let scripts = scripts.map(|one| str::from_utf8(&one.bytes).expect("modules are UTF-8"));
        let uses = scripts.flat_map(|script| {
            script.match_indices("words.").map(move |(at, _)| script.split_at(at))
        });
        // The address of the module `words` is no text.
        let uses = uses.filter(|(before, _)| !before.ends_with('/'));
        let is_in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        uses.filter_map(|(_, text)| text["words.".len()..].split(|c| !is_in_name(c)).next())
            .collect()
    }

    /// Returns the number of bytes of all assets but those of others, not compressed.
    #[must_use]
    pub fn weight(&self) -> usize {
        let is_own = |one: &&Embedded| VENDORED.iter().all(|file| file.name != one.name);
        self.0.iter().filter(is_own).map(|one| one.bytes.len()).sum()
    }
}

impl AssetFile {
    /// Returns the text of a module, or of any other file an empty text.
    fn module(&self) -> &'static str {
        let is_module = self.name.ends_with(".js");
        let text = str::from_utf8(if is_module { self.bytes } else { b"" });
        text.expect("every module is UTF-8")
    }

    /// Returns the names of the modules that this one imports itself.
    fn imports(&self) -> impl Iterator<Item = &'static str> {
        let after = self.module().split("'./").skip(1);
        after.filter_map(|text| Some(text.split_once('\'')?.0))
    }
}

impl Embedded {
    /// Gives a file its address. Its imports are already in `assets`.
    fn new(file: &AssetFile, assets: &Assets) -> Self {
        let (stem, extension) = file.name.rsplit_once('.').expect("every asset has an extension");
        let content_type = match extension {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "application/octet-stream",
        };
        let mut bytes = Cow::Borrowed(file.bytes);
        let mut imports = Vec::new();
        if file.imports().next().is_some() {
            let mut text = file.module().to_owned();
            for name in file.imports() {
                let module = assets.named(name).expect("imports come first");
                text = text.replace(&format!("'./{name}'"), &format!("'{}'", module.url));
                imports.push(name);
                imports.extend(&module.imports);
            }
            bytes = Cow::Owned(text.into_bytes());
        }
        imports.sort_unstable();
        imports.dedup();
        let hash = &blake3::hash(&bytes).to_hex()[..HASH_LEN];
        let url = format!("{PREFIX}{stem}.{hash}.{extension}");
        Self { name: file.name, content_type, bytes, url, etag: format!("W/\"{hash}\""), imports }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::Value;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::web::{Lang, words::DocsWords};

    static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets::with([]));

    #[test]
    fn the_address_in_a_page_leads_to_its_bytes_forever() {
        for embedded in &ASSETS.0 {
            let asset = ASSETS.find(ASSETS.url(embedded.name)).unwrap();
            assert_eq!(asset.bytes, &*embedded.bytes);
            assert!(asset.cache_control.contains("immutable"));
            let hash = blake3::hash(asset.bytes).to_hex();
            assert_eq!(asset.etag, format!("W/\"{}\"", &hash[..HASH_LEN]));
            assert!(embedded.url.contains(&hash[..HASH_LEN]));
        }
    }

    #[test]
    fn a_module_imports_the_current_versions_of_others() {
        let docs = ASSETS.find(ASSETS.url("docs.js")).unwrap();
        let text = str::from_utf8(docs.bytes).unwrap();
        assert!(!text.contains("'./"), "{text}");
        let imports: Vec<_> = ASSETS.imports("docs.js").collect();
        assert_eq!(imports, [ASSETS.url("copy.js"), ASSETS.url("dom.js")]);
        for url in imports {
            assert!(text.contains(&format!("from '{url}'")), "{url}");
            assert!(ASSETS.find(url).unwrap().cache_control.contains("immutable"));
        }
    }

    #[test]
    fn the_address_of_a_module_changes_with_its_imports() {
        let url = |inner: &'static [u8]| {
            let file = |name, bytes| AssetFile { name, bytes };
            let outer: &[u8] = b"import { one } from './middle.js';";
            let middle: &[u8] = b"export { one } from './inner.js';";
            let own = [("outer.js", outer), ("middle.js", middle), ("inner.js", inner)];
            let assets = Assets::with(own.map(|(name, bytes)| file(name, bytes)));
            assert_eq!(assets.imports("outer.js").count(), 2);
            assets.url("outer.js").to_owned()
        };
        assert_ne!(url(b"export const one = 1;"), url(b"export const one = 2;"));
    }

    #[test]
    #[should_panic(expected = "an import is missing or in a cycle")]
    fn modules_in_a_cycle_are_refused() {
        let bytes: &[u8] = b"import './self.js';";
        let _ = Assets::with([AssetFile { name: "self.js", bytes }]);
    }

    #[test]
    fn the_documentation_has_the_texts_of_its_script() {
        let texts = serde_json::to_value(DocsWords::of(Lang::En)).unwrap();
        let used = ASSETS.texts_used("docs.js");
        assert!(used.contains(&"parameters"), "{used:?}");
        for name in used {
            assert_ne!(texts[name], Value::Null, "{name}");
        }
    }

    #[test]
    fn another_hash_is_answered_but_not_kept() {
        for path in ["/assets/app.000000000000.css", "/assets/app..css"] {
            assert_eq!(ASSETS.find(path).unwrap().cache_control, "no-store");
        }
    }

    #[test]
    fn nothing_else_is_an_asset() {
        for path in ["/assets/", "/assets/app.css", "/assets/x.0.css", "/assets/../mod.0.rs", "/"] {
            assert_eq!(ASSETS.find(path), None, "{path}");
        }
    }

    #[test]
    fn files_of_others_are_unmodified() {
        let sums = include_str!("assets/vendor/SHA256SUMS");
        for file in &VENDORED {
            let sum = Sha256::digest(file.bytes).to_vec();
            let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(sums.lines().any(|line| line.starts_with(&sum)), "{}", file.name);
        }
    }

    #[test]
    fn no_asset_names_another_server() {
        for embedded in &ASSETS.0 {
            let text = str::from_utf8(&embedded.bytes).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            // The address of the library's sources, in its first comment.
            let text = text.replace("https://github.com/leeoniya/uPlot", "");
            assert!(!text.contains("//cdn") && !text.contains("http:") && !text.contains("https:"));
        }
    }
}
