//! From a container's coordinates and a secret to a session.
//!
//! `host` may be a name, an address, or the folder of a Unix socket. `tls: prefer` encrypts where
//! the server offers it, `require` refuses a server that does not, `verify-full` also checks the
//! certificate against the machine's authorities and the host name. A Unix socket is never
//! encrypted, and satisfies `require`, as with PostgreSQL's own clients.

use super::error::{self, During};
use crate::database::credential_hint;
use levada_flow::{FlowError, Retry, Secret};
use levada_model::connection::{Connection, Place, Tls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::config::SslMode;
use tokio_postgres::{CancelToken, Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// PostgreSQL's port.
const PORT: u16 = 5432;

/// How long one attempt to connect may take.
const CONNECT_SECONDS_MAX: u64 = 15;

/// How long a silent connection is left alone before the system asks whether anybody is there.
const KEEPALIVE_SECONDS: u64 = 30;

/// How long a statement waits for a lock before it gives up, to be tried again later.
const LOCK_SECONDS_MAX: u64 = 60;

/// How many sessions one source holds at once where the container says nothing.
const CONNECTIONS_DEFAULT: u32 = 4;

/// Everything that every session of one container shares.
#[derive(Clone)]
pub struct Settings {
    driver: tokio_postgres::Config,
    tls: Option<MakeRustlsConnect>,
    place: String,
    credential: Option<String>,
    /// The schema of tables that the model names without one.
    pub default_schema: String,
    /// How many sessions may be open at once, at least one.
    pub connections_max: usize,
}

impl Settings {
    /// Reads a container's coordinates.
    ///
    /// # Errors
    /// They are not those of a database server, or no user is known.
    pub fn new(connection: &Connection, secret: &Secret) -> Result<Self, FlowError> {
        let Place::Server { host, port, database, schema, tls } = &connection.place else {
            return Err(FlowError::never(format!("container {} names no host and database", connection.container)));
        };
        let credential = connection.credential.as_ref().map(|name| name.as_str().to_owned());
        let Some(user) = &secret.user else {
            return Err(missing_secret("user", &format!("{host}/{database}"), credential.as_deref()));
        };
        let mut driver = tokio_postgres::Config::new();
        driver
            .host(host)
            .port(port.unwrap_or(PORT))
            .dbname(database)
            .user(user)
            .application_name("levada")
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(KEEPALIVE_SECONDS));
        if let Some(password) = &secret.password {
            driver.password(password);
        }
        let is_socket = host.starts_with('/');
        driver.ssl_mode(match tls {
            _ if is_socket => SslMode::Disable,
            Tls::Prefer => SslMode::Prefer,
            Tls::Require | Tls::VerifyFull => SslMode::Require,
        });
        Ok(Self {
            driver,
            tls: if is_socket { None } else { Some(tls_connector(*tls)?) },
            place: format!("{user}@{host}:{}/{database}", port.unwrap_or(PORT)),
            credential,
            default_schema: schema.clone().unwrap_or_else(|| "public".to_owned()),
            connections_max: connection.connections_max.unwrap_or(CONNECTIONS_DEFAULT).max(1) as usize,
        })
    }

    /// Host, port, database and user, for messages: `eva@db.example.com:5432/sales`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The driver's own settings, for what speaks the protocol without it.
    pub(super) fn driver(&self) -> &tokio_postgres::Config {
        &self.driver
    }

    /// How to encrypt; `None`: never.
    pub(super) fn tls(&self) -> Option<MakeRustlsConnect> {
        self.tls.clone()
    }

    /// Opens a session: UTC, ISO dates, exact floats, no statement timeout.
    ///
    /// # Errors
    /// Nobody answers, or the server does not let us in.
    pub async fn connect(&self) -> Result<Session, FlowError> {
        let (client, task) = match &self.tls {
            Some(tls) => {
                let (client, connection) =
                    self.driver.connect(tls.clone()).await.map_err(|error| self.refused(error))?;
                (client, tokio::spawn(drive(connection)))
            }
            None => {
                let (client, connection) = self.driver.connect(NoTls).await.map_err(|error| self.refused(error))?;
                (client, tokio::spawn(drive(connection)))
            }
        };
        let session = Session { client, task, tls: self.tls.clone(), is_working: AtomicBool::new(false) };
        let settings = format!(
            "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; \
             SET extra_float_digits = 1; SET bytea_output = 'hex'; SET statement_timeout = 0; \
             SET idle_in_transaction_session_timeout = 0; SET standard_conforming_strings = on; \
             SET lock_timeout = '{LOCK_SECONDS_MAX}s'; SET search_path = pg_catalog"
        );
        session
            .client
            .batch_execute(&settings)
            .await
            .during(|| format!("can't prepare a session at {}", self.place))?;
        Ok(session)
    }

    /// A failed connection, told for the person who has to act.
    fn refused(&self, error: tokio_postgres::Error) -> FlowError {
        let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
        let text = error::chain(&error);
        let place = &self.place;
        if text.contains("password missing") {
            return missing_secret("password", place, self.credential.as_deref());
        }
        let refused = match code.as_str() {
            "28P01" => error::failed(format!("PostgreSQL at {place} refused the password"), error)
                .hint(credential_hint(self.credential.as_deref())),
            "28000" => error::failed(format!("PostgreSQL at {place} does not let this user in"), error)
                .hint("its pg_hba.conf decides who may connect from where, and how"),
            "3D000" => error::failed(format!("PostgreSQL at {place} has no such database"), error),
            "53300" => error::failed(format!("PostgreSQL at {place} has no connection left"), error)
                .hint("lower connections_max of the containers that share this server, or raise its max_connections"),
            _ => error::failed(format!("PostgreSQL at {place} can't be reached"), error),
        };
        // Neither gets better by itself.
        match text {
            text if text.contains("certificate") => FlowError { retry: Retry::Never, ..refused }.hint(
                "SSL_CERT_FILE names further authorities; tls: require encrypts without checking the certificate",
            ),
            text if text.contains("does not support TLS") => FlowError { retry: Retry::Never, ..refused }
                .hint("switch ssl on at the server, or let the container say tls: prefer"),
            _ => refused,
        }
    }
}

fn missing_secret(part: &str, place: &str, credential: Option<&str>) -> FlowError {
    FlowError::never(format!("no {part} is known for PostgreSQL at {place}")).hint(credential_hint(credential))
}

/// A connection to the server, and the task that moves its bytes. Dropping it closes both, and
/// cancels what the server still does for it.
pub struct Session {
    client: Client,
    task: tokio::task::JoinHandle<()>,
    tls: Option<MakeRustlsConnect>,
    /// Whether the server may be at a statement that nobody will wait for.
    is_working: AtomicBool,
}

impl Session {
    /// Does work on the session that the server has to stop where it is given up or fails.
    ///
    /// # Errors
    /// The work's own.
    pub async fn working<T>(&self, work: impl Future<Output = Result<T, FlowError>>) -> Result<T, FlowError> {
        self.is_working.store(true, Ordering::Relaxed);
        let done = work.await?;
        self.rest();
        Ok(done)
    }

    /// Says that the server has nothing to do for the session.
    pub fn rest(&self) {
        self.is_working.store(false, Ordering::Relaxed);
    }
}

impl std::ops::Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::ops::DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Ends at once even in the middle of a COPY that nobody reads any more.
        self.task.abort();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.is_working.load(Ordering::Relaxed) {
            // A closed connection alone is noticed by the server when it next sends something.
            runtime.spawn(cancel(self.client.cancel_token(), self.tls.clone()));
        }
    }
}

async fn cancel(token: CancelToken, tls: Option<MakeRustlsConnect>) {
    let cancelled = match tls {
        Some(tls) => token.cancel_query(tls).await,
        None => token.cancel_query(NoTls).await,
    };
    if let Err(error) = cancelled {
        tracing::debug!(%error, "a statement could not be cancelled");
    }
}

async fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // Whoever waits for an answer gets the error; here it is only noted.
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a PostgreSQL connection ended");
    }
}

fn tls_connector(tls: Tls) -> Result<MakeRustlsConnect, FlowError> {
    let provider = Arc::new(ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| FlowError::never("this build can't encrypt").because(error))?;
    let config = match tls {
        Tls::Prefer | Tls::Require => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth(),
        Tls::VerifyFull => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(FlowError::never("tls: verify-full finds no certificate authorities on this machine")
                    .hint("install the system's ca-certificates, or name a file with SSL_CERT_FILE"));
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// Takes any certificate: `prefer` and `require` ask for encryption, not for a name.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
