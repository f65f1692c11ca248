"""
As tdi-mutations.py, for what exporters of RAM give and what KVM removes: the number goes
into /sys/module/dma_buf_pfn_ram/parameters/mut before vfio_dma_buf_ram_test,
iommufd_dmabuf_ram, dmabuf_memslot_ram_test, and dmabuf_memslot_test.
"""
def edit(path, *pairs):
    text = open(path).read()
    for old, new in pairs:
        assert text.count(old) == 1, (path, old)
        text = text.replace(old, new)
    open(path, 'w').write(text)

edit('drivers/dma-buf/dma-buf-pfn-ram.c',
     ('#include <linux/mm.h>\n', '#include <linux/mm.h>\n#include <linux/moduleparam.h>\n'),
     ('/* Part of a map:', 'int dma_buf_mut;\nEXPORT_SYMBOL_GPL(dma_buf_mut);\nmodule_param_named(mut, dma_buf_mut, int, 0644);\n\n/* Part of a map:'),
     ('ret = dma_buf_pfn_ram_add(&ram, pages[i]);',
      'ret = dma_buf_pfn_ram_add(&ram, pages[dma_buf_mut == 1 ? i - (offset >> PAGE_SHIFT) : i]);'),
     ('for (pos = offset; pos < sg->length && length;', 'for (pos = dma_buf_mut == 2 ? 0 : offset; pos < sg->length && length;'),
     ('if (is_page_hwpoison(page))', 'if (dma_buf_mut != 4 && is_page_hwpoison(page))'),
     ('if (ram->range.paddr + ram->range.length != paddr) {',
      'if (dma_buf_mut == 6 ? !ram->range.length : ram->range.paddr + ram->range.length != paddr) {'))
edit('drivers/dma-buf/udmabuf.c',
     ('/* It leaves no trace', 'extern int dma_buf_mut;\n\t\t/* It leaves no trace'),
     ('if (ubuf->pfn_writable)\n', 'if (dma_buf_mut != 3 && ubuf->pfn_writable)\n'))
edit('virt/kvm/dmabuf.c',
     ('\tkvm_dmabuf_zap(binding);\n\n\tif (attach', '\textern int dma_buf_mut;\n\tif (dma_buf_mut != 5)\n\t\tkvm_dmabuf_zap(binding);\n\n\tif (attach'))
