"""The codes of mistakes about data: their meaning, one line each."""

from __future__ import annotations

from cnndsl.diagnostics import register

register(
    {
        "D0401": "a data set that does not exist",
        "D0402": "a data set that cannot be made the way it was asked for",
        "D0403": "a file or folder of data that is not there",
        "D0404": "an .npz file that cannot be read",
        "D0405": "an .npz file that lacks the arrays of a data set",
        "D0406": "images of a wrong shape, type or range",
        "D0407": "labels or class names that do not fit the images or each other",
        "D0408": "a data set's archive or folder that is damaged or laid out in another way",
        "D0409": "a download that every mirror failed to serve",
        "D0410": "data that would have to be downloaded, with downloading switched off",
        "D0411": "a cache folder that cannot be written",
        "D0412": "a picture file that cannot be read",
        "D0413": "a preprocessing or an augmentation that does not fit the images",
        "D0414": "a batch that is larger than the number of training images",
        "D0415": "a description of a preprocessing that cannot be understood",
    }
)
