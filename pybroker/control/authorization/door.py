"""Everything about access rules in one place, for the API and the command line."""

import msgspec

from pybroker.clock import Clock
from pybroker.control.authorization.importer import RuleImporter
from pybroker.control.authorization.lists import RuleLists
from pybroker.control.authorization.records import RuleRecords
from pybroker.control.authorization.rules import RuleBook
from pybroker.control.configuration import Configuration
from pybroker.control.namespaces import ManagedNamespaces
from pybroker.control.plane import Plane
from pybroker.persistence.sqlite import Database


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """The services around access rules."""

    rules: RuleBook
    records: RuleRecords
    importer: RuleImporter


async def open_authorization(
    configuration: Configuration, database: Database, plane: Plane, clock: Clock, namespaces: ManagedNamespaces
) -> Authorization:
    """Build the services and put the stored rules into force.

    Raises:
        StoreError: a record cannot be read.
    """
    rules = RuleBook(database, RuleLists(database), plane.authorizer.built_in, namespaces, configuration)
    await rules.load()
    return Authorization(rules=rules, records=RuleRecords(rules, clock), importer=RuleImporter(rules, clock))
