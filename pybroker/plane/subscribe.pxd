# Types for the compiled form of subscribe.py.

from pybroker.plane.registry cimport Registry, Session

cdef class Subscriber:
    cdef public object settings
    cdef public dict zones
    cdef object _engine, _locks, _authorizer, _events, _spawn
    cdef Registry _registry

    cpdef on_subscribe(self, long long conn, long long slot, int packet_id, requests)
    cpdef on_unsubscribe(self, long long conn, long long slot, int packet_id, filters)
    cpdef on_withdrawn(self, long long conn, long long slot, filters)
    cdef _forget(self, Session session, filters)
    cdef _judge(self, Session session, tuple request)
    cpdef _answer(self, long long conn, Session session, int packet_id, requests, bytearray reasons)
