//! `Connect`, `Will` and `Connack`: what the connect pipeline reads and writes.

use std::net::SocketAddr;
use std::sync::Arc;

use pybroker_core::reason::ReasonCode;
use pybroker_engine::events::{ConnectInfo, WillMessage};
use pybroker_engine::handshake::ConnackExtra;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::key_error;

/// A will as the client sent it.
#[pyclass(name = "Will", module = "pybroker._core", frozen)]
pub struct PyWill(pub Arc<WillMessage>);

#[pymethods]
impl PyWill {
    #[getter]
    fn topic(&self) -> &str {
        &self.0.topic
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.payload)
    }

    #[getter]
    fn qos(&self) -> u8 {
        self.0.qos as u8
    }

    #[getter]
    fn is_retain(&self) -> bool {
        self.0.is_retain
    }

    #[getter]
    fn delay_s(&self) -> u32 {
        self.0.delay_s
    }

    #[getter]
    fn message_expiry_s(&self) -> Option<u32> {
        self.0.message_expiry_s
    }
}

/// A CONNECT that waits for its answer.
#[pyclass(name = "Connect", module = "pybroker._core", frozen)]
pub struct PyConnect(pub Box<ConnectInfo>);

fn address(address: Option<SocketAddr>) -> (String, u16) {
    address.map_or_else(|| (String::new(), 0), |address| (address.ip().to_canonical().to_string(), address.port()))
}

#[pymethods]
impl PyConnect {
    #[getter]
    fn version(&self) -> u8 {
        self.0.version as u8
    }

    #[getter]
    fn client_id(&self) -> &str {
        &self.0.client_id
    }

    #[getter]
    fn is_clean_start(&self) -> bool {
        self.0.is_clean_start
    }

    #[getter]
    fn is_bridge(&self) -> bool {
        self.0.is_bridge
    }

    #[getter]
    fn keep_alive_s(&self) -> u16 {
        self.0.keep_alive_s
    }

    #[getter]
    fn username(&self) -> Option<&str> {
        self.0.username.as_deref()
    }

    #[getter]
    fn password<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.password.as_ref().map(|password| PyBytes::new(py, password))
    }

    #[getter]
    fn will(&self) -> Option<PyWill> {
        self.0.will.clone().map(PyWill)
    }

    #[getter]
    fn session_expiry_s(&self) -> u32 {
        self.0.session_expiry_s
    }

    #[getter]
    fn receive_maximum(&self) -> u16 {
        self.0.receive_maximum
    }

    #[getter]
    fn max_packet_bytes(&self) -> u32 {
        self.0.max_packet_bytes
    }

    #[getter]
    fn topic_alias_maximum(&self) -> u16 {
        self.0.topic_alias_maximum
    }

    #[getter]
    fn requests_response_information(&self) -> bool {
        self.0.requests_response_information
    }

    #[getter]
    fn requests_problem_information(&self) -> bool {
        self.0.requests_problem_information
    }

    #[getter]
    fn user_properties(&self) -> Vec<(&str, &str)> {
        self.0.user_properties.iter().map(|(name, value)| (&**name, &**value)).collect()
    }

    #[getter]
    fn authentication_method(&self) -> Option<&str> {
        self.0.authentication_method.as_deref()
    }

    #[getter]
    fn authentication_data<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.authentication_data.as_ref().map(|data| PyBytes::new(py, data))
    }

    #[getter]
    fn listener(&self) -> u32 {
        self.0.listener
    }

    #[getter]
    fn peer(&self) -> (String, u16) {
        address(self.0.peer.peer)
    }

    #[getter]
    fn certificate_common_name(&self) -> Option<&str> {
        let proxied = self.0.peer.proxied_common_name.as_deref();
        proxied.or_else(|| self.0.peer.certificate.as_ref()?.common_name.as_deref())
    }

    #[getter]
    fn certificate_subject(&self) -> Option<&str> {
        self.0.peer.certificate.as_ref().map(|certificate| certificate.subject_dn.as_str())
    }

    #[getter]
    fn certificate_der<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.peer.certificate.as_ref().map(|certificate| PyBytes::new(py, &certificate.der))
    }

    #[getter]
    fn certificate_sans(&self) -> Vec<&str> {
        let sans = self.0.peer.certificate.as_ref().map(|certificate| certificate.sans.as_slice());
        sans.unwrap_or_default().iter().map(String::as_str).collect()
    }

    #[getter]
    fn server_name(&self) -> Option<&str> {
        self.0.peer.server_name.as_deref()
    }

    #[getter]
    fn websocket_path(&self) -> Option<&str> {
        self.0.peer.websocket_path.as_deref()
    }

    #[getter]
    fn websocket_cookie(&self) -> Option<&str> {
        self.0.peer.websocket_cookie.as_deref()
    }
}

/// Properties that Python adds to CONNACK or AUTH.
#[pyclass(name = "Connack", module = "pybroker._core", frozen)]
pub struct PyConnack(pub ConnackExtra);

#[pymethods]
impl PyConnack {
    #[new]
    #[pyo3(signature = (*, assigned_client_id=None, server_keep_alive_s=None, session_expiry_s=None, reason_string=None,
        response_information=None, server_reference=None, user_properties=None, authentication_method=None,
        authentication_data=None))]
    #[allow(
        clippy::too_many_arguments,
        clippy::needless_pass_by_value,
        reason = "one keyword per property, as PyO3 hands it over"
    )]
    fn new(
        assigned_client_id: Option<String>,
        server_keep_alive_s: Option<u16>,
        session_expiry_s: Option<u32>,
        reason_string: Option<String>,
        response_information: Option<String>,
        server_reference: Option<String>,
        user_properties: Option<Vec<(String, String)>>,
        authentication_method: Option<String>,
        authentication_data: Option<Vec<u8>>,
    ) -> Self {
        let mut extra = ConnackExtra {
            assigned_client_id: assigned_client_id.map(Into::into),
            server_keep_alive_s,
            session_expiry_s,
            reason_string: reason_string.map(Into::into),
            response_information: response_information.map(Into::into),
            server_reference: server_reference.map(Into::into),
            user_properties: Vec::new(),
            authentication_method: authentication_method.map(Into::into),
            authentication_data: authentication_data.map(Into::into),
        };
        for (name, value) in &user_properties.unwrap_or_default() {
            extra.add_user_property(name, value);
        }
        Self(extra)
    }
}

/// Checks a reason code that comes from Python.
pub fn reason_code(number: i64) -> PyResult<u8> {
    u8::try_from(number)
        .ok()
        .filter(|number| ReasonCode::try_from(*number).is_ok())
        .ok_or_else(|| key_error("reason", &format!("a reason code of MQTT 5.0: {number}")))
}
