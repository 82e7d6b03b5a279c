"""What people see: pictures of cases and panels, figures of scores, tables, and pages as single files.

One painter a medium. `raster` paints pixels (notebook, thumbnails, the pictures inside a page), `outline` finds the
edges of masks, `figures` and `charts` draw with matplotlib, `tables` turns scores into text, and `page` fills
templates. `cases` is the page of a demo or an evaluation, `systems` what several systems drew for one case.

One frame for every image: x runs along columns and y down the rows, in voxels from the outer corner of voxel (0, 0).
Voxel (r, c) covers [c, c + 1] x [r, r + 1], its centre lies at (c + 0.5, r + 0.5), and outlines run along voxel edges,
so they hold exactly the voxels of their mask.
"""
