//! From a container's coordinates and a secret to a session.
//!
//! `host` may be a name, an address, or the path of a Unix socket. `tls: prefer` encrypts where the
//! server offers it, `require` refuses a server that does not, `verify-full` also checks the
//! certificate against the machine's authorities and the host name. A Unix socket is never
//! encrypted, and satisfies `require`, as with MySQL's own clients.

use super::error::{During, LOCK_WAIT_TIMEOUT, chain, code, failed};
use crate::database::credential_hint;
use levada_flow::{FlowError, Retry, Secret};
use levada_model::connection::{Connection, Place, Tls};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, IoError, OptsBuilder, SslOpts};
use std::time::{Duration, Instant};

/// MySQL's port.
const PORT: u16 = 3306;

/// How long one attempt to connect may take.
const CONNECT_SECONDS_MAX: u64 = 15;

/// How long a silent connection is left alone before the system asks whether anybody is there.
const KEEPALIVE_SECONDS: u64 = 30;

/// How long a statement waits for a lock before it gives up, to be tried again later.
pub(super) const LOCK_SECONDS_MAX: u64 = 60;

/// How long a session may wait for the other side of the data plane, in either direction. The
/// servers' own limits are a minute.
const IDLE_SECONDS_MAX: u64 = 86_400;

/// How often a definition is tried before it fails, to be tried again later.
const DEFINE_ATTEMPTS_MAX: u32 = 60;

/// How long readers get between two tries.
const DEFINE_PAUSE: Duration = Duration::from_secs(1);

/// How many prepared statements a session keeps: one per size of an insert, and a few more.
const STATEMENTS_MAX: usize = 64;

/// Everything that every session of one container shares.
#[derive(Clone)]
pub struct Settings {
    driver: OptsBuilder,
    tls: Option<(Tls, SslOpts)>,
    place: String,
    credential: Option<String>,
    /// The database of tables that the model names without one.
    pub default_schema: String,
    /// The container's database.
    pub database: String,
    /// The container's name: several may be on one server.
    pub container: String,
}

impl Settings {
    /// Reads a container's coordinates. A producer's sessions begin in its database, which has to
    /// be there; a consumer's begin in none.
    ///
    /// # Errors
    /// They are not those of a database server, or no user is known.
    pub fn new(connection: &Connection, secret: &Secret, is_producer: bool) -> Result<Self, FlowError> {
        let Place::Server { host, port, database, schema, tls } = &connection.place else {
            return Err(FlowError::never(format!("container {} names no host and database", connection.container)));
        };
        let credential = connection.credential.as_ref().map(|name| name.as_str().to_owned());
        let port = port.unwrap_or(PORT);
        let Some(user) = &secret.user else {
            return Err(FlowError::never(format!("no user is known for MySQL at {host}:{port}/{database}"))
                .hint(credential_hint(credential.as_deref())));
        };
        let default_schema = schema.clone().unwrap_or_else(|| database.clone());
        let is_socket = host.starts_with('/');
        let mut driver = OptsBuilder::default()
            .user(Some(user))
            .pass(secret.password.as_ref())
            .db_name(is_producer.then_some(database))
            .prefer_socket(false)
            .stmt_cache_size(STATEMENTS_MAX)
            .tcp_keepalive(Some(Duration::from_secs(KEEPALIVE_SECONDS)));
        driver = match is_socket {
            true => driver.socket(Some(host)),
            false => driver.ip_or_hostname(host).tcp_port(port),
        };
        Ok(Self {
            driver,
            tls: if is_socket { None } else { Some((*tls, tls_options(*tls)?)) },
            place: format!("{user}@{host}:{port}/{database}"),
            credential,
            default_schema,
            database: database.clone(),
            container: connection.container.as_str().to_owned(),
        })
    }

    /// Host, port, database and user, for messages: `eva@db.example.com:3306/sales`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Opens a session: UTC, UTF-8, strict about values, patient with the other side.
    ///
    /// # Errors
    /// Nobody answers, or the server does not let us in.
    pub async fn connect(&self) -> Result<Session, FlowError> {
        let connected = match &self.tls {
            None => self.try_connect(None).await,
            Some((tls, options)) => match self.try_connect(Some(options.clone())).await {
                Err(Error::Driver(DriverError::NoClientSslFlagFromServer)) if *tls == Tls::Prefer => {
                    self.try_connect(None).await
                }
                connected => connected,
            },
        };
        let connection = connected.map_err(|error| self.refused(error))?;
        let mut session = Session {
            began_at: Instant::now(),
            connection: Some(connection),
            settings: self.clone(),
            is_mariadb: false,
            is_working: false,
            packet_bytes_max: 0,
        };
        session.prepare().await?;
        Ok(session)
    }

    async fn try_connect(&self, tls: Option<SslOpts>) -> Result<Conn, Error> {
        let connect = Conn::new(self.driver.clone().ssl_opts(tls));
        match tokio::time::timeout(Duration::from_secs(CONNECT_SECONDS_MAX), connect).await {
            Ok(connected) => connected,
            Err(_) => {
                let late = format!("no answer within {CONNECT_SECONDS_MAX} s");
                Err(Error::Io(IoError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, late))))
            }
        }
    }

    /// A failed connection, told for the person who has to act.
    fn refused(&self, error: Error) -> FlowError {
        let (place, text) = (&self.place, chain(&error));
        match (code(&error), &error) {
            (Some(1045 | 1698), _) => failed(format!("MySQL at {place} refused user or password"), error)
                .hint(credential_hint(self.credential.as_deref())),
            (Some(1044 | 1130), _) => failed(format!("MySQL at {place} does not let this user in"), error)
                .hint("an account is a user and the host it comes from: its GRANT decides"),
            (Some(1049), _) => failed(format!("MySQL at {place} has no such database"), error),
            (Some(1040 | 1203 | 1226), _) => failed(format!("MySQL at {place} has no connection left"), error)
                .hint("lower connections_max of the containers that share this server, or raise its max_connections"),
            (_, Error::Driver(DriverError::NoClientSslFlagFromServer)) => {
                failed(format!("MySQL at {place} offers no encryption"), error)
                    .hint("give the server a certificate, or let the container say tls: prefer")
            }
            // It does not get better by itself.
            _ if text.contains("certificate") => {
                let refused = failed(format!("MySQL at {place} shows a certificate that is not trusted"), error);
                FlowError { retry: Retry::Never, ..refused }.hint(
                    "SSL_CERT_FILE names further authorities; tls: require encrypts without checking the certificate",
                )
            }
            _ => failed(format!("MySQL at {place} can't be reached"), error),
        }
    }
}

fn tls_options(tls: Tls) -> Result<SslOpts, FlowError> {
    // The driver takes the process's provider; whoever has set one already is right.
    drop(rustls::crypto::ring::default_provider().install_default());
    if tls != Tls::VerifyFull {
        return Ok(SslOpts::default().with_danger_accept_invalid_certs(true));
    }
    // One that can't be parsed would refuse all of them.
    let is_parsable = |authority: &rustls::pki_types::CertificateDer<'_>| {
        rustls::RootCertStore::empty().add(authority.clone().into_owned()).is_ok()
    };
    let mut authorities = rustls_native_certs::load_native_certs().certs;
    authorities.retain(is_parsable);
    if authorities.is_empty() {
        return Err(FlowError::never("tls: verify-full finds no certificate authorities on this machine")
            .hint("install the system's ca-certificates, or name a file with SSL_CERT_FILE"));
    }
    let authorities = authorities.iter().map(|authority| authority.to_vec().into()).collect();
    Ok(SslOpts::default().with_root_certs(authorities).with_disable_built_in_roots(true))
}

/// A connection to the server. Dropping it closes it, and ends what the server still does for it.
pub struct Session {
    /// Only taken out by drop.
    connection: Option<Conn>,
    began_at: Instant,
    settings: Settings,
    /// Whether the server is MariaDB and not MySQL.
    pub is_mariadb: bool,
    /// Whether the server may be at a statement that nobody will wait for.
    is_working: bool,
    /// The largest statement or value that the server takes.
    pub packet_bytes_max: usize,
}

impl Session {
    async fn prepare(&mut self) -> Result<(), FlowError> {
        let place = self.settings.place.clone();
        let told = || format!("can't prepare a session at {place}");
        let row: Option<(String, u64)> =
            self.query_first("SELECT VERSION(), @@max_allowed_packet").await.during(told)?;
        let (version, packet) = row.unwrap_or_default();
        self.is_mariadb = version.to_ascii_lowercase().contains("mariadb");
        self.packet_bytes_max = usize::try_from(packet).unwrap_or(usize::MAX);
        // A GRANT must never make a user. MySQL has no such mode any more, because none does.
        let (mode, endless) = match self.is_mariadb {
            true => (",NO_AUTO_CREATE_USER", "max_statement_time = 0"),
            false => ("", "max_execution_time = 0"),
        };
        self.query_drop("SET NAMES utf8mb4").await.during(told)?;
        let settings = format!(
            "SET SESSION time_zone = '+00:00', autocommit = 1, {endless}, \
             sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION{mode}', \
             net_write_timeout = {IDLE_SECONDS_MAX}, net_read_timeout = {IDLE_SECONDS_MAX}, \
             wait_timeout = {IDLE_SECONDS_MAX}, \
             lock_wait_timeout = {LOCK_SECONDS_MAX}, innodb_lock_wait_timeout = {LOCK_SECONDS_MAX}"
        );
        self.query_drop(settings).await.during(told)
    }

    /// Says that the server works for the session from now on: where it is given up before
    /// [`Self::rest`], the server has to be told.
    pub fn work(&mut self) {
        self.is_working = true;
    }

    /// Says that the server has nothing to do for the session.
    pub fn rest(&mut self) {
        self.is_working = false;
    }

    /// Whether the session may be used again.
    pub fn is_usable(&self) -> bool {
        !self.is_working && !self.is_disconnected()
    }

    /// What the server knows it by.
    pub(super) fn thread(&self) -> Thread {
        Thread { id: self.id(), began_at: self.began_at }
    }

    /// The bare connection, for what is no query.
    ///
    /// # Panics
    /// Never: only drop takes it out otherwise.
    pub(super) fn into_connection(mut self) -> Conn {
        self.connection.take().expect("only drop takes it")
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// The server's.
    pub async fn run(&mut self, statement: &str, what: impl FnOnce() -> String) -> Result<(), FlowError> {
        self.query_drop(statement).await.during(what)
    }
}

impl Session {
    /// Defines something that readers may hold: a table, a view. Where one holds on, the readers who
    /// came after it go first, and it is tried again.
    ///
    /// # Errors
    /// The server's, or readers never let go.
    pub async fn define(&mut self, statement: &str, what: impl FnOnce() -> String) -> Result<(), FlowError> {
        let mut attempt = 1;
        let defined = loop {
            // MySQL counts whole seconds. Meanwhile nobody else gets in.
            self.query_drop("SET SESSION lock_wait_timeout = 1").await.during(|| "no lock can be set".to_owned())?;
            match self.query_drop(statement).await {
                Err(error) if code(&error) == Some(LOCK_WAIT_TIMEOUT) && attempt < DEFINE_ATTEMPTS_MAX => {
                    attempt += 1;
                    tokio::time::sleep(DEFINE_PAUSE).await;
                }
                defined => break defined,
            }
        };
        defined.during(what)?;
        let patient = format!("SET SESSION lock_wait_timeout = {LOCK_SECONDS_MAX}");
        self.run(&patient, || "no lock can be set".to_owned()).await
    }
}

impl std::ops::Deref for Session {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        self.connection.as_ref().expect("only drop takes it")
    }
}

impl std::ops::DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Conn {
        self.connection.as_mut().expect("only drop takes it")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take().filter(|_| self.is_working) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let thread = Thread { id: connection.id(), began_at: self.began_at };
        // A closed connection alone is noticed by the server when it next sends something, and the
        // driver would read all that is still to come.
        let settings = self.settings.clone();
        runtime.spawn(async move {
            kill(&settings, thread).await;
            drop(connection);
        });
    }
}

/// A session as its server knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thread {
    id: u32,
    began_at: Instant,
}

/// Ends another session of ours, its transaction and its locks, if the server lets us.
pub(super) async fn kill(settings: &Settings, Thread { id, began_at }: Thread) {
    let killed = async {
        let mut session = settings.connect().await?;
        let uptime: Result<Option<(String, u64)>, _> = session.query_first("SHOW GLOBAL STATUS LIKE 'Uptime'").await;
        let uptime = uptime.during(|| "nobody knows since when the server runs".to_owned())?;
        let is_younger = uptime.is_some_and(|(_, seconds)| Duration::from_secs(seconds + 1) < began_at.elapsed());
        if is_younger || session.id() <= id {
            // The server was restarted, and the number may be somebody else's.
            return Ok(());
        }
        session.run(&format!("KILL {id}"), || format!("session {id} can't be ended")).await
    };
    if let Err(error) = killed.await {
        tracing::debug!(error = %error.chain(), "what a session does could not be ended");
    }
}
