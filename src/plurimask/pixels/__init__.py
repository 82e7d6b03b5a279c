"""What pictures share whoever draws them, without a plotting library: colours, outlines, close-ups, PNG, and glances.

A frame for every image: x runs along columns and y down the rows, in voxels from the outer corner of voxel (0, 0).
"""
