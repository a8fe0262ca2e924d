//! Settings: the environment beats `levada.toml` beside the model, which beats the defaults.

use anyhow::{Context, Result, bail};
use levada_flow::{FlowError, Secret};
use levada_model::name::CredentialName;
use levada_server::Token;
use std::path::{Path, PathBuf};

/// Where this project keeps what it knows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `sqlite:PATH` or `postgres://…`.
    pub state: String,
    /// The store's folder.
    pub data: PathBuf,
    /// A folder of secrets: `NAME/user`, `NAME/password`, `NAME/token`.
    pub secrets: Option<PathBuf>,
    /// The folder of the parse cache; `None`: there is none.
    pub cache: Option<PathBuf>,
    /// What runs an image, as a program and its arguments; the image follows.
    pub runner: Vec<String>,
    /// What requests to `levada serve` have to carry, a file that holds it; the environment has it itself.
    pub token: Option<PathBuf>,
    /// How long a platform's program may think about one question.
    pub platform_seconds: u64,
    /// What `levada.toml` names that is no model, whether the environment has something else or not.
    named: Vec<PathBuf>,
}

/// The keys of `levada.toml`.
#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    state: Option<String>,
    data: Option<String>,
    secrets: Option<String>,
    cache: Option<String>,
    runner: Option<Vec<String>>,
    platform_seconds: Option<u64>,
    token: Option<String>,
}

/// What runs an image where nothing else is said.
const RUNNER: [&str; 5] = ["docker", "run", "--rm", "--interactive", "--network=none"];

/// How long a platform's program may think about one question where nothing else is said.
pub const PLATFORM_SECONDS: u64 = 600;

/// What `LEVADA_CACHE` says where nothing shall be cached.
const CACHE_OFF: &str = "off";

impl Settings {
    /// Reads the settings of a model's folder.
    ///
    /// # Errors
    /// `levada.toml` can't be read, or names something this build does not have.
    pub fn read(root: &Path) -> Result<Self> {
        let file = read_file(root)?;
        let in_sqlite = file.state.as_deref().and_then(|state| state.strip_prefix("sqlite:"));
        let named =
            [in_sqlite, file.data.as_deref(), file.secrets.as_deref(), file.cache.as_deref(), file.token.as_deref()];
        let named = named.into_iter().flatten().map(|path| root.join(path)).collect();
        let state = match variable_or_file("LEVADA_STATE")? {
            Some(state) => state,
            None => match file.state {
                Some(state) => below(root, &state),
                None => format!("sqlite:{}", root.join(".levada/state.db").display()),
            },
        };
        let data = match (variable("LEVADA_DATA"), file.data) {
            (Some(data), _) => data,
            (None, data) => root.join(data.unwrap_or_else(|| ".levada/data".to_owned())).display().to_string(),
        };
        if data.contains("://") {
            bail!("LEVADA_DATA is {data}, but this build keeps data in folders only; name a folder");
        }
        let secrets = variable("LEVADA_SECRETS").map(PathBuf::from).or(file.secrets.map(|folder| root.join(folder)));
        let cache = match (variable("LEVADA_CACHE"), file.cache) {
            (Some(word), _) | (None, Some(word)) if word == CACHE_OFF => None,
            (Some(folder), _) => Some(PathBuf::from(folder)),
            (None, folder) => Some(root.join(folder.unwrap_or_else(|| ".levada/cache".to_owned()))),
        };
        let runner = match variable("LEVADA_RUNNER") {
            Some(words) => words.split_whitespace().map(str::to_owned).collect(),
            None => file.runner.unwrap_or_else(|| RUNNER.map(str::to_owned).into()),
        };
        let token = file.token.map(|path| root.join(path));
        let platform_seconds = file.platform_seconds.unwrap_or(PLATFORM_SECONDS);
        Ok(Self { state, data: data.into(), secrets, cache, runner, token, platform_seconds, named })
    }

    /// The token of `levada serve`: what `LEVADA_SERVE_TOKEN_FILE` holds, `LEVADA_SERVE_TOKEN`, or what the
    /// file says that `levada.toml` names as `token`.
    ///
    /// # Errors
    /// The file can't be read, or holds nothing.
    pub fn serve_token(&self) -> Result<Option<Token>> {
        let (text, whose) = match (variable_or_file("LEVADA_SERVE_TOKEN")?, &self.token) {
            (Some(text), _) => (text, "LEVADA_SERVE_TOKEN".to_owned()),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path);
                (
                    text.with_context(|| format!("failed to read the token {}", path.display()))?,
                    path.display().to_string(),
                )
            }
            (None, None) => return Ok(None),
        };
        match Token::new(&text) {
            Some(token) => Ok(Some(token)),
            None => bail!("the token in {whose} is empty"),
        }
    }

    /// Where secrets, state, data and cache are: in a model's folder they are no part of it.
    pub fn places(&self) -> Vec<PathBuf> {
        let state = self.state.strip_prefix("sqlite:").map(PathBuf::from);
        let own = [Some(self.data.clone()), state, self.secrets.clone(), self.cache.clone()];
        own.into_iter().flatten().chain(self.named.clone()).collect()
    }

    /// Finds a secret in the environment or the folder of secrets.
    ///
    /// # Errors
    /// There is none, or its file can't be read.
    pub fn secret(&self, name: &CredentialName) -> Result<Secret, FlowError> {
        let upper = name.as_str().to_uppercase();
        let part = |part: &str| -> Result<Option<String>, FlowError> {
            if let Some(value) = variable(&format!("LEVADA_CREDENTIAL_{upper}_{}", part.to_uppercase())) {
                return Ok(Some(value));
            }
            let Some(folder) = &self.secrets else { return Ok(None) };
            let path = folder.join(name.as_str()).join(part);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => {
                    Err(FlowError::never(format!("the secret {} can't be read", path.display())).because(error))
                }
            }
        };
        let secret = Secret { user: part("user")?, password: part("password")?, token: part("token")? };
        if secret == Secret::default() {
            return Err(FlowError::never(format!("the credential {name} has no secret")).hint(format!(
                "set LEVADA_CREDENTIAL_{upper}_USER and _PASSWORD, or LEVADA_SECRETS to a folder with {name}/user"
            )));
        }
        Ok(secret)
    }
}

impl Settings {
    /// A secret as a program gets it: `LEVADA_CREDENTIAL_NAME_USER`, `…_PASSWORD`, `…_TOKEN`.
    ///
    /// # Errors
    /// As [`Settings::secret`].
    pub fn secret_variables(&self, name: &CredentialName) -> Result<Vec<(String, String)>, FlowError> {
        let (secret, upper) = (self.secret(name)?, name.as_str().to_uppercase());
        let parts = [("USER", secret.user), ("PASSWORD", secret.password), ("TOKEN", secret.token)];
        let named = |(part, value): (&str, Option<String>)| Some((format!("LEVADA_CREDENTIAL_{upper}_{part}"), value?));
        Ok(parts.into_iter().filter_map(named).collect())
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable that holds a secret, or the file that `NAME_FILE` names: a mounted secret.
fn variable_or_file(name: &str) -> Result<Option<String>> {
    let named = format!("{name}_FILE");
    // The file wins: images have a default of the variable, and whoever names a file means it.
    let Some(path) = variable(&named) else { return Ok(variable(name)) };
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}, which {named} names"))?;
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

fn read_file(root: &Path) -> Result<File> {
    let path = root.join("levada.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| format!("failed to read {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

/// A relative SQLite path in the file starts at the model's folder.
fn below(root: &Path, state: &str) -> String {
    match state.strip_prefix("sqlite:") {
        Some(path) => format!("sqlite:{}", root.join(path).display()),
        None => state.to_owned(),
    }
}
