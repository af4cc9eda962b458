"""The figures of the papers, one script each: `python -m figures [NAME ...] [--quick] [--list] [--out DIR]`.

Every module of this folder is a figure.  It has a docstring (which figure of which paper, what to see) and

    CLAIMS              ids of the claims it shows
    CAPTION             what is drawn, parameters in braces; the sentences of `expect` are appended
    PARAMS, QUICK       parameters, and the same keys for a run of seconds
    compute(params)     -> {name: array}; the slow part, cached until parameters or sources change
    expect(data)        -> the sentences of the caption, as checks with numbers
    BROKEN              name of each check -> data spoilt so that it must fail (one that cannot is refused)
    draw(data)          -> matplotlib Figure

`compute` never plots, `draw` never computes, nothing runs on import.  A new file here is a new figure.
"""
