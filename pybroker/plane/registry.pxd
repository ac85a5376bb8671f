# Types for the compiled form of registry.py; the sizes are those of the protocol.

cdef class Session:
    cdef readonly int slot
    cdef public long long conn
    cdef public long long created_at_ms, connected_at_ms, disconnected_at_ms, ends_ms
    cdef public unsigned int expiry_s
    cdef public unsigned short keep_alive_s
    cdef public unsigned char version
    cdef public bint is_clean_start, is_superuser, disconnects_at_expiry
    cdef readonly str client_id
    cdef readonly str declared_client_id
    cdef public str username
    cdef readonly str namespace
    cdef readonly str mountpoint
    cdef public str peer
    cdef public object listener
    cdef public object will
    cdef public str zone
    cdef public object attributes, acl, expire_at_s
    cdef public object deadline

    cpdef attach(self, applicant, long long now_ms)


cdef class Registry:
    cdef dict _by_client_id
    cdef list _by_slot

    cpdef find(self, str client_id)
    cpdef at(self, Py_ssize_t slot)
    cpdef connected_at(self, Py_ssize_t slot, long long conn)
