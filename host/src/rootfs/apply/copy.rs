//! COPY, and ADD once its files are there.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::select::{Above, Selection, expand, has_wildcard, not_found};
use super::{ApplyContext, ApplyError, CopySource, Ownerships, Result, absolute, root, unpack};
use crate::fs::{Attributes, Kind};
use crate::layer::whiteout::is_reserved;
use crate::operation;
use crate::rootfs::tree::{Content, Last, Node, Tree, make_dirs, normalise, resolve};

/// Directories below each other in a source; as many as in a layer.
const DEEPEST: usize = 1024;

pub(super) fn copy(tree: &mut dyn Tree, copy: &operation::Copy, source: &CopySource, context: &ApplyContext) -> Result<()> {
    let ownerships = Ownerships::new(&copy.ownership, tree)?;
    let destination = Destination::new(&copy.destination, context);
    let mut copier = Copier { tree, source, ownerships, context, linked: HashMap::new() };
    if copy.parents {
        for pattern in &copy.paths {
            copier.with_parents(pattern, &copy.exclude, &destination)?;
        }
        return Ok(());
    }
    let selection = Selection::new(None, &copy.exclude)?;
    let mut paths = Vec::new();
    for pattern in &copy.paths {
        paths.append(&mut expand(&*source.tree, pattern)?);
    }
    if copy.paths.is_empty() {
        paths = source.tree.everything()?;
    }
    for path in paths {
        let found = resolve(&*source.tree, root(), &path, Last::Follow)?;
        let Some(node) = found.node else { return Err(not_found(&*source.tree, &path.to_string_lossy())) };
        if copy.unpack && node.kind == Kind::File && unpack::is_archive(&*source.tree, &found.path, &node)? {
            copier.unpack(&found.path, &node, &destination)?;
        } else {
            copier.one(&path, &found.path, &node, &selection, &destination)?;
        }
    }
    Ok(())
}

/// Where a copy goes.
struct Destination {
    path: PathBuf,
    /// Written so that it can only be a directory.
    directory: bool,
}

impl Destination {
    fn new(text: &str, context: &ApplyContext) -> Self {
        let path = normalise(absolute(text, context).as_os_str());
        let directory = text.is_empty() || text == "." || text.ends_with('/') || (text.starts_with('/') && text.ends_with("/."));
        Self { path, directory }
    }
}

pub(super) struct Copier<'a> {
    pub(super) tree: &'a mut dyn Tree,
    pub(super) source: &'a CopySource,
    pub(super) ownerships: Ownerships,
    pub(super) context: &'a ApplyContext,
    /// Where the first name of a file with several has gone.
    linked: HashMap<(u64, u64), PathBuf>,
}

/// A directory on the way down, which is made when something in it is copied.
struct Pending {
    from: PathBuf,
    to: PathBuf,
    node: Node,
    made: bool,
    /// Set when all that is in it has been copied.
    finish: bool,
}

impl Copier<'_> {
    fn make_dirs(&mut self, path: &Path) -> Result<PathBuf> {
        super::unreserved(path)?;
        let attributes = self.ownerships.implied(self.context);
        Ok(make_dirs(self.tree, root(), path, &attributes)?)
    }

    /// Makes what must be there before the destination is looked at, and says where it is.
    fn prepare(&mut self, destination: &Destination) -> Result<(PathBuf, Option<Node>)> {
        let first = if destination.directory { Some(&*destination.path) } else { destination.path.parent() };
        if let Some(first) = first {
            self.make_dirs(first)?;
        }
        let found = resolve(&*self.tree, root(), &destination.path, Last::Follow)?;
        Ok((found.path, found.node))
    }

    /// Copies a file to a path or into a directory, or the content of a directory.
    fn one(&mut self, named: &Path, from: &Path, node: &Node, selection: &Selection, destination: &Destination) -> Result<()> {
        let (mut to, there) = self.prepare(destination)?;
        if node.is_dir() {
            if there.is_none() {
                to = self.make_dirs(&to)?;
            }
            return self.content(from, node, &to, there, selection);
        }
        let mut there = there;
        if there.is_some_and(|there| there.is_dir()) {
            to.push(named.file_name().unwrap_or_else(|| OsStr::new("")));
            there = self.tree.stat(&to)?;
        } else if let Some(parent) = to.parent() {
            // A link may lead to where nothing is.
            self.make_dirs(parent)?;
        }
        self.item(from, node, &to, there)
    }

    /// Copies what is in a directory. The destination keeps its owner and mode, and takes over the source's time.
    fn content(&mut self, from: &Path, node: &Node, to: &Path, there: Option<Node>, selection: &Selection) -> Result<()> {
        if let Some(there) = there.filter(|there| !there.is_dir()) {
            return Err(ApplyError::Conflict { path: to.to_owned(), what: Kind::Directory, there: there.kind });
        }
        let fresh = there.is_none();
        let mut way = vec![Pending { from: from.to_owned(), to: to.to_owned(), node: *node, made: true, finish: false }];
        self.below(&mut way, Path::new(""), selection.start(), selection, fresh)?;
        // The root of an image is in no layer.
        if !to.as_os_str().is_empty() {
            self.tree.set_attributes(to, &Attributes { mtime: Some(node.mtime), ..Attributes::default() })?;
        }
        Ok(())
    }

    /// Copies what is selected below the directory that is last on the way; `fresh` says that nothing is there yet.
    fn below(&mut self, way: &mut Vec<Pending>, inside: &Path, above: Above, selection: &Selection, fresh: bool) -> Result<()> {
        let Some(directory) = way.last() else { return Ok(()) };
        if way.len() > DEEPEST {
            return Err(ApplyError::Deep(directory.from.clone()));
        }
        let (from, to) = (directory.from.clone(), directory.to.clone());
        let names = match selection.only(&above) {
            Some(name) => vec![name.into()],
            None => self.source.tree.entries(&from)?.into_iter().map(|entry| entry.name).collect(),
        };
        for name in names {
            let from = from.join(&name);
            // It may have gone since, or stand in no listing.
            let Some(node) = self.source.tree.stat(&from)? else { continue };
            let inside = inside.join(&name);
            let Some((selected, here)) = selection.step(&above, &inside, node.is_dir()) else { continue };
            let to = to.join(&name);
            // Where the parents have only now been made, nothing can be there.
            let was_fresh = fresh || way.iter().any(|pending| !pending.made);
            if selected {
                self.make_way(way)?;
                if node.kind == Kind::Symlink && selection.follows_links() && self.dangles(&from)? {
                    return Err(ApplyError::Dangling(from));
                }
            }
            if !node.is_dir() {
                if selected {
                    let there = if was_fresh && fresh { None } else { self.tree.stat(&to)? };
                    self.item(&from, &node, &to, there)?;
                }
                continue;
            }
            let there = if fresh { None } else { self.tree.stat(&to)? };
            way.push(Pending { from, to, node, made: false, finish: false });
            if selected {
                self.make_way(way)?;
            }
            self.below(way, &inside, here, selection, there.is_none())?;
            if let Some(done) = way.pop().filter(|done| done.finish) {
                // Putting things into it has changed its time.
                self.tree.set_attributes(&done.to, &Attributes { mtime: Some(done.node.mtime), ..Attributes::default() })?;
            }
        }
        Ok(())
    }

    /// Whether a link leads to nothing in the source.
    fn dangles(&self, from: &Path) -> Result<bool> {
        Ok(resolve(&*self.source.tree, root(), from, Last::Follow)?.node.is_none())
    }

    /// Makes the directories on the way that are not there yet, and gives those that are the source's attributes.
    fn make_way(&mut self, way: &mut [Pending]) -> Result<()> {
        for pending in way.iter_mut().filter(|pending| !pending.made) {
            self.reserved(&pending.to)?;
            let attributes = self.attributes(&pending.from, &pending.node)?;
            match self.tree.stat(&pending.to)? {
                None => self.tree.make_dir(&pending.to, &attributes)?,
                Some(there) if there.is_dir() => self.tree.set_attributes(&pending.to, &attributes)?,
                Some(there) => {
                    return Err(ApplyError::Conflict { path: pending.to.clone(), what: Kind::Directory, there: there.kind });
                }
            }
            pending.made = true;
            pending.finish = true;
        }
        Ok(())
    }

    fn reserved(&self, to: &Path) -> Result<()> {
        if to.file_name().is_some_and(is_reserved) { Err(ApplyError::Reserved(to.to_owned())) } else { Ok(()) }
    }

    /// What a copy of something gets.
    fn attributes(&self, from: &Path, node: &Node) -> Result<Attributes> {
        let owner = match self.ownerships.owner {
            Some(owner) => owner,
            None if self.source.keep_owner => (node.uid, node.gid),
            None => (0, 0),
        };
        let mode = (node.kind != Kind::Symlink).then(|| self.ownerships.mode(node.mode, node.is_dir()));
        Ok(Attributes { owner: Some(owner), mode, xattrs: self.source.tree.xattrs(from)?, mtime: Some(node.mtime) })
    }

    /// Copies anything but a directory, in place of anything but a directory.
    fn item(&mut self, from: &Path, node: &Node, to: &Path, there: Option<Node>) -> Result<()> {
        self.reserved(to)?;
        match there {
            Some(there) if there.is_dir() => {
                return Err(ApplyError::Conflict { path: to.to_owned(), what: node.kind, there: there.kind });
            }
            Some(_) => self.tree.remove(to)?,
            None => {}
        }
        if let Some(link) = node.link {
            if let Some(first) = self.linked.get(&link)
                && self.tree.stat(first)?.is_some()
            {
                return Ok(self.tree.hard_link(first, to)?);
            }
            self.linked.insert(link, to.to_owned());
        }
        let attributes = self.attributes(from, node)?;
        match node.kind {
            Kind::Directory => {}
            Kind::File => self.tree.put_file(to, &attributes, Content::Of(&self.source.tree, from, node))?,
            // A socket means nothing without whoever listened.
            Kind::Socket => self.tree.put_file(to, &attributes, Content::Bytes(&[]))?,
            Kind::Symlink => {
                let target = self.source.tree.read_link(from)?;
                self.tree.symlink(to, &target, &attributes)?;
            }
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => self.tree.make_node(to, node.kind, node.device, &attributes)?,
        }
        Ok(())
    }

    /// `--parents`: the pattern from the root, or from its first `/./` on, says what is copied with its parents.
    fn with_parents(&mut self, pattern: &str, exclude: &[String], destination: &Destination) -> Result<()> {
        let (base, rest) = pattern.split_once("/./").unwrap_or(("", pattern));
        let inside = normalise(OsStr::new(rest));
        let include = (!inside.as_os_str().is_empty()).then_some(rest);
        let selection = Selection::new(include, exclude)?;
        // What a pattern does not find is no error.
        let several = has_wildcard(base);
        let bases = if several { expand(&*self.source.tree, base)? } else { vec![normalise(OsStr::new(base))] };
        for base in bases {
            let found = resolve(&*self.source.tree, root(), &base, Last::Follow)?;
            let node = found.node.filter(|node| node.is_dir());
            let literal = !has_wildcard(rest);
            let there = node.is_some() && (!literal || self.source.tree.stat(&found.path.join(&inside))?.is_some());
            match node.filter(|_| there) {
                Some(node) => self.below_base(found.path, node, &selection, destination)?,
                None if several => {}
                None => return Err(not_found(&*self.source.tree, pattern)),
            }
        }
        Ok(())
    }

    /// Copies what is selected of a directory, with its parents up to there.
    fn below_base(&mut self, from: PathBuf, node: Node, selection: &Selection, destination: &Destination) -> Result<()> {
        let (to, there) = self.prepare(destination)?;
        let to = if there.is_none() { self.make_dirs(&to)? } else { to };
        if let Some(there) = there.filter(|there| !there.is_dir()) {
            return Err(ApplyError::Conflict { path: to, what: Kind::Directory, there: there.kind });
        }
        let mut way = vec![Pending { from, to, node, made: true, finish: false }];
        self.below(&mut way, Path::new(""), selection.start(), selection, there.is_none())
    }

    fn unpack(&mut self, from: &Path, node: &Node, destination: &Destination) -> Result<()> {
        // An archive always goes into a directory, whose mode is not `--chmod`'s.
        super::unreserved(&destination.path)?;
        let implied = Ownerships { mode: None, ..self.ownerships.clone() }.implied(self.context);
        let to = make_dirs(self.tree, root(), &destination.path, &implied)?;
        unpack::unpack(self, from, node, &to)
    }
}
