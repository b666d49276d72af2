"""Processes forked from one that has loaded libraries already, which saves them seconds."""

import multiprocessing
from multiprocessing import forkserver


class Forks:
    """Starts processes by a server that has loaded these modules; one at a time is kept running."""

    context = multiprocessing.get_context("forkserver")
    loaded = None

    def __init__(self, *modules):
        self.modules = list(modules)

    def start(self, target, *arguments):
        """Start a process that calls a function; return it."""
        if Forks.loaded is not self.modules:
            forkserver._forkserver._stop()
            self.context.set_forkserver_preload(self.modules)
            Forks.loaded = self.modules
        process = self.context.Process(target=target, args=arguments)
        process.start()
        return process
