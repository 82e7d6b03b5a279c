"""All benchmarks, one table each: python benchmarks/run.py (a few minutes on two cores)."""

import platform

import archive_speed
import draw_speed
import loader_speed
import metric_speed
import page_speed
import peak_memory
import prepare_speed
import segmentation_speed
import startup
import study_speed
import torch
import train_speed
import viewer_speed
from common import print_table, threads

if __name__ == "__main__":
    print(f"{platform.processor() or platform.machine()}, {threads()}, torch {torch.__version__}")
    print_table("Start", startup.table())
    print_table("Loader", loader_speed.table())
    print_table("Studies", study_speed.table())
    print_table("Archive", archive_speed.table())
    print_table("Preparing LIDC-IDRI", prepare_speed.table())
    print_table("Metrics", metric_speed.table())
    print_table("DICOM SEG", segmentation_speed.table())
    print_table("Memory of drawing", peak_memory.table())
    print_table("Reading room", viewer_speed.table())
    print_table("The page of the reading room", page_speed.table())
    print_table("Training", train_speed.table())
    print_table("Drawing", draw_speed.table())
