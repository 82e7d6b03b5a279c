"""Cases of datasets -> mask sets, here or by the workers of a cluster. What is complete already is left alone."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from plurimask.cluster import Cluster
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import InputError
from plurimask.files.mask_sets import DESCRIPTION, STACK, read_description, write_mask_set
from plurimask.files.remote import Remote
from plurimask.records import Case
from plurimask.sampling.model import Model
from plurimask.sampling.represent import PanelKind
from plurimask.sampling.study import at_spacing, case_study, sample_case
from plurimask.seeds import sample_seeds


@dataclass(frozen=True)
class CaseDrawer:
    """Draws panels of cases, each into the folder of its name. `cluster.Make`.

    Args:
        load: the model, once a worker.
        read: what reads each case.
        out: by kind of panel, the folder that holds the panels, on a disk or not.
        count, seed, sampler, pool, whole, native: as for `sample_case`; the pool is that of representative panels.
    """

    load: Callable[[], Model]
    read: Mapping[str, Callable[[], Case]]
    out: Mapping[PanelKind, Path | Remote]
    count: int
    seed: int
    sampler: SamplerSettings | None = None
    pool: int | None = None
    whole: bool = False
    native: bool = False

    def __call__(self) -> Callable[[str], None]:
        """What draws a case of a name, by a model of its own."""
        model = self.load()

        def draw(name: str) -> None:
            case = self.read[name]()
            for kind, place in self.out.items():
                remote = place if isinstance(place, Remote) else None
                folder = (place.root if isinstance(place, Remote) else place) / name
                if remote is not None:
                    remote.bring([folder], missing=True)
                if not self._is_complete(model, case, kind, folder):
                    pool = self.pool if kind == "representative" else None
                    panel = sample_case(
                        model,
                        case,
                        self.count,
                        self.seed,
                        self.sampler,
                        kind,
                        pool,
                        whole=self.whole,
                        native=self.native,
                    )
                    write_mask_set(folder, panel)
                    if remote is not None:
                        remote.send(folder, last=f"{STACK}.npz")  # set.json alone is no panel
                if remote is not None:
                    shutil.rmtree(folder)

        return draw

    def spread(self, cluster: Cluster, gpu: bool, progress: Callable[[int], object]) -> None:
        """Draw all cases by the workers of a cluster. Raises FailedCasesError and others as `Cluster.map`."""
        for done, _ in enumerate(cluster.map(self, {name: name for name in self.read}, gpu), start=1):
            progress(done)

    def _is_complete(self, model: Model, case: Case, kind: PanelKind, folder: Path) -> bool:
        """Whether a panel is there that this model drew of this image, with these settings."""
        try:
            found = read_description(folder / DESCRIPTION)
        except InputError:
            return False
        size = model.pool(kind, self.pool if kind == "representative" else None, self.count)
        _, settings = model.settings(self.seed, self.sampler, size)
        seeds, near = found.seeds or (), at_spacing(model, case_study(case), self.native)
        content = (near.case if near else case).content
        return (
            (found.method, found.checkpoint) == (model.recipe.method.name, model.checkpoint.digest)
            and {key: value for key, value in found.settings.items() if key != "resampled_mm"}
            == json.loads(json.dumps(settings))
            and len(seeds) == self.count
            and frozenset(seeds) <= frozenset(sample_seeds(content, self.seed, size or self.count))
            and (folder / f"{STACK}.npz").is_file()
        )
