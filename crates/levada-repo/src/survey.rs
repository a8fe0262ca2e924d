//! A folder looked over: every file is known by its sketch, and its content is read when it is asked for.
//!
//! What a survey costs follows the number of files, and is small where the cache knows them; what a part
//! costs follows the part.

use crate::cache::{self, Hash, Place, Shard};
use crate::files::FileTable;
use crate::folder::{Folder, Loaded, RepoError};
use crate::private::make_private;
use levada_model::fingerprint::Fingerprint;
use levada_model::{Address, FileId, Findings, Fragment, Outlined, Sketch};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All files of a folder, as far as they had to be read.
#[derive(Debug)]
pub struct Survey {
    folder: Folder,
    cache: Option<PathBuf>,
    paths: Vec<String>,
    /// In the order of `paths`.
    files: Vec<Surveyed>,
    outlined: Option<Outlined>,
    parsed: usize,
}

#[derive(Debug)]
struct Surveyed {
    key: Hash,
    sketch: Sketch,
    content: Content,
}

/// What a file says.
#[derive(Debug)]
enum Content {
    /// It was parsed, with what is wrong with it.
    Parsed(Box<Fragment>, Findings),
    /// It lies in the cache.
    Cached(Place),
}

impl Folder {
    /// Looks a folder over: walks, reads all files, and parses those that the cache does not know, on all
    /// cores. A cache is a folder that is made and filled as far as it can be.
    ///
    /// # Errors
    /// Where a file or folder can't be read.
    pub fn survey(&self, cache: Option<&Path>) -> Result<Survey, RepoError> {
        let paths = self.paths()?;
        let cache = cache.filter(|folder| make_private(folder).is_ok());
        let files = match cache {
            Some(folder) => self.survey_cached(&paths, folder)?,
            None => {
                paths.par_iter().enumerate().map(|(index, path)| self.parse(index, path)).collect::<Result<_, _>>()?
            }
        };
        let outlined = self.outline(&paths, &files);
        let parsed = files.iter().filter(|file| matches!(file.content, Content::Parsed(..))).count();
        Ok(Survey { folder: self.clone(), cache: cache.map(Path::to_owned), paths, files, outlined, parsed })
    }

    fn parse(&self, index: usize, path: &str) -> Result<Surveyed, RepoError> {
        let text = self.text(path)?;
        Ok(Surveyed::parse(index, path, cache::key(path, &text), &text))
    }

    /// Looks all files over, shard by shard of the cache; in the order of `paths`.
    fn survey_cached(&self, paths: &[String], folder: &Path) -> Result<Vec<Surveyed>, RepoError> {
        let mut shards: Vec<Vec<usize>> = vec![Vec::new(); cache::SHARDS];
        for (index, path) in paths.iter().enumerate() {
            shards[cache::shard_of(path)].push(index);
        }
        let surveyed = shards.into_par_iter().enumerate().map(|(number, indices)| {
            let mut shard = Shard::open(folder, number);
            let mut surveyed = Vec::with_capacity(indices.len());
            for index in indices {
                surveyed.push((index, self.look_at(&mut shard, index, &paths[index])?));
            }
            let places = shard.close();
            let placed = surveyed.into_iter().map(|(index, looked_at)| match looked_at {
                LookedAt::Parsed(file) => Ok((index, file)),
                LookedAt::Known(key, sketch) => match places.get(&key) {
                    Some(place) => Ok((index, Surveyed { key, sketch, content: Content::Cached(*place) })),
                    // Another load has replaced the fragments meanwhile, or one was killed on its way.
                    None => Ok((index, self.parse(index, &paths[index])?)),
                },
            });
            placed.collect()
        });
        let surveyed: Vec<Vec<_>> = surveyed.collect::<Result<_, RepoError>>()?;
        let mut surveyed: Vec<_> = surveyed.into_iter().flatten().collect();
        surveyed.sort_unstable_by_key(|(index, _)| *index);
        Ok(surveyed.into_iter().map(|(_, surveyed)| surveyed).collect())
    }

    fn look_at(&self, shard: &mut Shard, index: usize, path: &str) -> Result<LookedAt, RepoError> {
        let text = self.text(path)?;
        let key = cache::key(path, &text);
        if let Some(sketch) = shard.find(key) {
            return Ok(LookedAt::Known(key, sketch));
        }
        let file = Surveyed::parse(index, path, key, &text);
        if let Content::Parsed(fragment, findings) = &file.content
            && findings.0.is_empty()
        {
            shard.keep(key, &file.sketch, fragment);
        }
        Ok(LookedAt::Parsed(file))
    }

    /// The outline, where no file has a finding.
    fn outline(&self, paths: &[String], files: &[Surveyed]) -> Option<Outlined> {
        let is_clean = |file: &Surveyed| match &file.content {
            Content::Parsed(_, findings) => findings.0.is_empty(),
            Content::Cached(_) => true,
        };
        let sketches = paths.iter().zip(files).map(|(path, file)| (path.as_str(), &file.sketch));
        files.iter().all(is_clean).then(|| levada_model::outline(sketches, &|path| self.code(path)))?
    }

    /// The text of a file that the model names.
    fn code(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(path)).ok()
    }
}

/// A file by its position, what it says, and what is wrong with it.
type Said = (u32, Fragment, Findings);

/// A file as it is known before its shard of the cache is written.
enum LookedAt {
    Parsed(Surveyed),
    /// By its key and sketch; the cache knows what else it says.
    Known(Hash, Sketch),
}

impl Surveyed {
    fn parse(index: usize, path: &str, key: Hash, text: &[u8]) -> Self {
        let (fragment, findings) = levada_model::read_file(file_id(index), path, text);
        Self { key, sketch: fragment.sketch(), content: Content::Parsed(Box::new(fragment), findings) }
    }
}

impl Survey {
    /// The outline of the model; `None` where something is wrong, which the whole of it tells.
    pub fn outlined(&self) -> Option<&Outlined> {
        self.outlined.as_ref()
    }

    /// How many files had to be parsed.
    pub fn parsed(&self) -> usize {
        self.parsed
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.paths.len()
    }

    /// Of all files of the model as they were read: paths and bytes.
    pub fn content(&self) -> Fingerprint {
        Fingerprint::of_all(self.files.iter().map(|file| Fingerprint(u128::from_le_bytes(file.key))))
    }

    /// The whole model, with everything that is wrong with its files.
    ///
    /// # Errors
    /// Where a file can't be read.
    pub fn whole(mut self) -> Result<Loaded, RepoError> {
        let mut parsed = Vec::new();
        let mut cached = Vec::new();
        for (index, file) in (0..).zip(&mut self.files) {
            match &mut file.content {
                Content::Parsed(fragment, findings) => {
                    parsed.push((index, std::mem::take(&mut **fragment), std::mem::take(findings)));
                }
                Content::Cached(place) => cached.push((index, *place)),
            }
        }
        let mut loaded = self.load(parsed, cached)?;
        loaded.model.outlines = self.outlined.map(|outlined| outlined.outlines).unwrap_or_default();
        Ok(loaded)
    }

    /// The part of the model that these objects are, with what all stand on: [`levada_model::Model::part`].
    ///
    /// # Errors
    /// Where a file can't be read.
    ///
    /// # Panics
    /// Where there is no outline.
    pub fn part(&self, objects: &BTreeSet<Address>) -> Result<Loaded, RepoError> {
        let outlined = self.outlined.as_ref().expect("a part is of a model that has an outline");
        let is_everybodys = |address: &&Address| {
            matches!(address, Address::Ecosystem | Address::Zone(_) | Address::Team(..) | Address::Calendar(_))
        };
        let wanted = outlined.outlines.keys().filter(is_everybodys).chain(objects);
        let files: BTreeSet<u32> =
            wanted.filter_map(|address| outlined.files.get(address)).flatten().copied().collect();
        let mut parsed = Vec::new();
        let mut cached = Vec::new();
        for index in files {
            match &self.files[index as usize].content {
                Content::Parsed(fragment, findings) => {
                    parsed.push((index, fragment.as_ref().clone(), findings.clone()))
                }
                Content::Cached(place) => cached.push((index, *place)),
            }
        }
        let mut loaded = self.load(parsed, cached)?;
        loaded.model = loaded.model.part(objects);
        loaded.model.outlines = Arc::clone(&outlined.outlines);
        Ok(loaded)
    }

    /// Joins what files say: some that were parsed, and some that lie in the cache.
    fn load(&self, parsed: Vec<Said>, cached: Vec<(u32, Place)>) -> Result<Loaded, RepoError> {
        let mut said = parsed;
        said.extend(self.read_cached(cached)?);
        said.sort_unstable_by_key(|(index, ..)| *index);
        let mut file_findings = Vec::new();
        let mut fragments = Vec::with_capacity(said.len());
        for (index, fragment, findings) in said {
            fragments.push((self.paths[index as usize].clone(), fragment));
            file_findings.push(findings);
        }
        let (model, mut findings) = levada_model::assemble(fragments, &|path| self.folder.code(path));
        file_findings.into_iter().for_each(|found| findings.extend(found));
        findings.sort();
        let files = FileTable::new(self.folder.root.clone(), self.paths.clone());
        Ok(Loaded { model, findings, files, content: self.content() })
    }

    /// Reads what lies in the cache, shard by shard; in any order.
    fn read_cached(&self, cached: Vec<(u32, Place)>) -> Result<Vec<Said>, RepoError> {
        let mut shards: Vec<Vec<(u32, Place)>> = vec![Vec::new(); cache::SHARDS];
        for (index, place) in cached {
            shards[cache::shard_of(&self.paths[index as usize])].push((index, place));
        }
        let shards = shards.into_par_iter().enumerate().filter(|(_, wanted)| !wanted.is_empty());
        let read = shards.map(|(number, wanted)| self.read_shard(number, &wanted));
        Ok(read.collect::<Result<Vec<_>, RepoError>>()?.into_iter().flatten().collect())
    }

    fn read_shard(&self, number: usize, wanted: &[(u32, Place)]) -> Result<Vec<Said>, RepoError> {
        let folder = self.cache.as_ref().expect("only a cache has cached files");
        let places: Vec<_> = wanted.iter().map(|(index, place)| (FileId(*index), *place)).collect();
        let fragments = cache::fragments(folder, number, &places);
        let read = wanted.iter().zip(fragments).map(|((index, _), fragment)| match fragment {
            Some(fragment) => Ok((*index, fragment, Findings::default())),
            // Another load has written the shard meanwhile.
            None => {
                let path = &self.paths[*index as usize];
                let (fragment, findings) = levada_model::read_file(FileId(*index), path, &self.folder.text(path)?);
                Ok((*index, fragment, findings))
            }
        });
        read.collect()
    }
}

fn file_id(index: usize) -> FileId {
    FileId(u32::try_from(index).expect("a folder has less than 2^32 files"))
}
