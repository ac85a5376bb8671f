"""Everything about access control in one place, for the API and the command line."""

import asyncio

import msgspec

from pybroker.clock import Clock
from pybroker.control.authorization.answers import RemoteAnswers
from pybroker.control.authorization.explain import Explainer
from pybroker.control.authorization.exposition import AccessFamilies
from pybroker.control.authorization.importer import RuleImporter
from pybroker.control.authorization.kept import KeptDecisions
from pybroker.control.authorization.lists import RuleLists
from pybroker.control.authorization.rates import SAMPLE_S, Rates
from pybroker.control.authorization.records import RuleRecords
from pybroker.control.authorization.rules import RuleBook
from pybroker.control.authorization.settings import AccessSettings
from pybroker.control.authorization.simulate import Simulator
from pybroker.control.authorization.sources import Sources
from pybroker.control.authorization.statistics import StatisticsView
from pybroker.control.clients import Clients
from pybroker.control.configs import Configs
from pybroker.control.configuration import Configuration
from pybroker.control.namespaces.managed import ManagedNamespaces
from pybroker.control.plane import Plane
from pybroker.persistence.sqlite import Database


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """The services around access control."""

    rules: RuleBook
    records: RuleRecords
    importer: RuleImporter
    settings: AccessSettings
    sources: Sources
    statistics: StatisticsView
    explainer: Explainer
    simulator: Simulator
    kept: KeptDecisions
    answers: RemoteAnswers
    families: AccessFamilies

    async def run(self) -> None:
        """Take the samples behind the rates until cancelled."""
        while True:
            self.statistics.sample()
            self.answers.sample()
            await asyncio.sleep(SAMPLE_S)


async def open_authorization(
    configuration: Configuration,
    configs: Configs,
    clients: Clients,
    database: Database,
    plane: Plane,
    clock: Clock,
    namespaces: ManagedNamespaces,
) -> Authorization:
    """Build the services and put the stored rules into force.

    Raises:
        StoreError: a record cannot be read.
    """
    rules = RuleBook(database, RuleLists(database), plane.authorizer.built_in, namespaces, configuration)
    await rules.load()
    rates = Rates(clock)
    settings = AccessSettings(configs, configuration, plane, rules.lists)
    sources = Sources(configs, configuration, plane, rules, rates)
    return Authorization(
        rules=rules,
        records=RuleRecords(rules, clock),
        importer=RuleImporter(rules, clock),
        settings=settings,
        sources=sources,
        statistics=StatisticsView(plane.counters, rules, sources, settings, rates, clock),
        explainer=Explainer(plane, rules),
        simulator=Simulator(plane, rules),
        kept=KeptDecisions(plane, clients, clock),
        answers=RemoteAnswers(plane, rates),
        families=AccessFamilies(sources, rules),
    )
