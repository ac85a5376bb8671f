# Types for the compiled form of pump.py.

from pybroker.plane.connect cimport Connector
from pybroker.plane.registry cimport Registry
from pybroker.plane.session cimport Sessions
from pybroker.plane.subscribe cimport Subscriber

cdef class Pump:
    cdef object _engine, _events, _on_failure, _publisher, _loop, _turn_timer
    cdef Registry _registry
    cdef Connector _connector
    cdef Subscriber _subscriber
    cdef Sessions _sessions
    cdef dict _handlers
