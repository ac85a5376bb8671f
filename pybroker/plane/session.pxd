# Types for the compiled form of session.py.

from pybroker.plane.registry cimport Registry, Session

cdef class Sessions:
    cdef public unsigned int max_expiry_s
    cdef object _engine, _clock, _events, _on_end, _wills, _deadlines, _rights_ends
    cdef Registry _registry
    cdef dict _replaced_by

    cpdef open(self, applicant)
    cpdef on_closed(self, long long conn, long long slot, int cause, int reason, long long final_expiry_s, bint sends_will)
    cdef _find_or_create(self, applicant)
    cdef _create(self, applicant)
    cdef _take_over(self, Session session, long long conn, bint is_kept)
    cdef _end_replaced(self, long long conn)
    cdef _resume(self, Session session, applicant)
    cdef _wait(self, Session session)
    cdef _end(self, Session session, signal)
