# Types for the compiled form of connect.py.

from pybroker.plane.session cimport Sessions

cdef class Connector:
    cdef public object settings
    cdef public dict zones
    cdef object _engine, _listeners, _authenticator, _banned, _namespaces, _events, _spawn
    cdef Sessions _sessions
    cdef dict _waiting, _renewing, _templates

    cpdef on_connect(self, long long conn, connect)
    cpdef on_closed(self, long long conn)
    cdef int _introduce(self, applicant) except -1
    cpdef int limit_expiry(self, applicant) except -1
    cpdef int check_validity(self, applicant) except -1
    cpdef int choose_username(self, applicant) except -1
    cpdef int choose_client_id(self, applicant) except -1
    cpdef int resolve_namespace(self, applicant) except -1
    cpdef int check_banned(self, applicant) except -1
    cpdef int check_anonymous(self, applicant) except -1
    cpdef int count_connect(self, applicant) except -1
    cpdef int merge_verdict(self, applicant, verdict) except -1
    cpdef int fix_mountpoint(self, applicant) except -1
    cpdef open_session(self, applicant, verdict)
    cdef _conclude(self, applicant, verdict)
    cdef _settings_of(self, applicant)
    cdef _render(self, str text, applicant)
    cdef int _check_length(self, applicant, str client_id) except -1
