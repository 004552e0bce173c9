//! The sources of the workspace with their imports, without tests.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Ident, ItemMod, ItemUse, UseTree,
    visit::{self, Visit},
};

/// One source file.
pub(crate) struct Source {
    /// The crate that it belongs to.
    pub krate: String,
    /// Its module, from the crate's root.
    pub module: Vec<String>,
    /// The imported paths, each with its crate's name first.
    pub imports: Vec<Vec<String>>,
    idents: Vec<String>,
    contains_sql: bool,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.krate)?;
        self.module.iter().try_for_each(|part| write!(f, "::{part}"))
    }
}

impl Source {
    pub(crate) fn is_in(&self, krate: &str, part: &str) -> bool {
        self.krate == krate && self.module.first().is_some_and(|first| first == part)
    }

    pub(crate) fn imports_crate(&self, name: &str) -> bool {
        self.imports.iter().any(|import| import[0] == name)
    }

    pub(crate) fn names(&self, ident: &str) -> bool {
        self.idents.iter().any(|one| one == ident)
    }

    pub(crate) fn contains_sql(&self) -> bool {
        self.contains_sql
    }
}

/// Returns all sources below `crates/*/src`.
pub(crate) fn sources() -> Vec<Source> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = Vec::new();
    for krate in entries(crates) {
        let root = krate.join("src");
        let name = krate.file_name().unwrap().to_str().unwrap().to_owned();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    sources.push(read(&name, &root, &path));
                }
            }
        }
    }
    assert!(sources.len() > 100, "the sources are found");
    sources
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn read(krate: &str, root: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let file = syn::parse_file(&text).unwrap();
    let module = path.strip_prefix(root).unwrap().with_extension("");
    let parts = module.iter().map(|part| part.to_str().unwrap().to_owned());
    let module: Vec<_> = parts.filter(|part| !["lib", "main", "mod"].contains(&&**part)).collect();
    let source = Source {
        krate: krate.to_owned(),
        module: module.clone(),
        imports: Vec::new(),
        idents: Vec::new(),
        contains_sql: text.contains("sqlx::query"),
    };
    let mut reader = Reader { source, within: module };
    reader.visit_file(&file);
    reader.source
}

/// A visitor that collects the imports of a source.
struct Reader {
    source: Source,
    /// The current module, which may be a module within the file.
    within: Vec<String>,
}

impl Reader {
    /// Adds a path as an absolute path.
    fn add(&mut self, path: &[String]) {
        let ups = path.iter().take_while(|part| *part == "super").count();
        let (base, rest) = match path.first().map(String::as_str) {
            Some("crate") => (&[][..], &path[1..]),
            Some("self") => (&self.within[..], &path[1..]),
            Some("super") => (&self.within[..self.within.len().saturating_sub(ups)], &path[ups..]),
            _ => return self.source.imports.push(path.to_vec()),
        };
        let krate = std::slice::from_ref(&self.source.krate);
        self.source.imports.push([krate, base, rest].concat());
    }

    fn add_tree(&mut self, prefix: &[String], tree: &UseTree) {
        let longer = |ident: &Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&longer(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|one| self.add_tree(prefix, one)),
            UseTree::Name(name) if name.ident == "self" => self.add(prefix),
            UseTree::Name(name) => self.add(&longer(&name.ident)),
            UseTree::Rename(rename) => self.add(&longer(&rename.ident)),
            UseTree::Glob(_) => self.add(prefix),
        }
    }
}

impl<'a> Visit<'a> for Reader {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !is_test(&item.attrs) {
            self.within.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.within.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        if !is_test(&item.attrs) {
            self.add_tree(&[], &item.tree);
            visit::visit_item_use(self, item);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|one| one.ident.to_string()).collect();
        if parts.len() > 1 {
            self.add(&parts);
        }
        visit::visit_path(self, path);
    }

    fn visit_ident(&mut self, ident: &'a Ident) {
        self.source.idents.push(ident.to_string());
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|one| {
        one.path().is_ident("cfg") && one.parse_args::<Ident>().is_ok_and(|name| name == "test")
    })
}
