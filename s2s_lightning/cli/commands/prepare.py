"""``prepare``: the data side of ``fit`` ahead of it, on a login node say."""

from collections.abc import Sequence

from s2s_lightning.callbacks.reports.summary import table
from s2s_lightning.cli.fit import CLI, ArgumentParser
from s2s_lightning.data import Seq2SeqData


class Prepare(CLI):
    """Takes all that ``fit`` takes, and builds nothing but the data module."""

    needs_model = False

    def instantiate_classes(self) -> None:
        data = self._settled().data
        only_data = ArgumentParser()
        only_data.add_class_arguments(Seq2SeqData, "data")
        self.datamodule = only_data.instantiate(only_data.parse_object({"data": data})).data

    def start(self) -> None:
        self.datamodule.prepare()
        print(table(self.datamodule.summary()))


def run(command: str, args: Sequence[str]) -> None:
    Prepare(command, args).start()
