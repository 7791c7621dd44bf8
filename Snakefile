"""What `snakemake` finds in a checkout: all rules of workflow/Snakefile, as any other folder can use them."""


module dglframer:
    snakefile:
        "workflow/Snakefile"


use rule * from dglframer
