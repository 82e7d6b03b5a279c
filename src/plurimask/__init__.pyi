from .datasets.open import open_dataset as open_dataset
from .evaluation import compare as compare
from .evaluation import evaluate as evaluate
from .files.locate import open_study as open_study
from .files.mask_sets import read_mask_set as read_mask_set
from .files.mask_sets import write_mask_set as write_mask_set
from .geometry import Grid as Grid
from .panel_files import write_panel as write_panel
from .records import Case as Case
from .records import MaskSet as MaskSet
from .sampling import Model as Model
from .sampling import load as load
from .sampling import sample_study as sample_study
from .training.loop import train as train
from .viewer import serve as serve

__version__: str
