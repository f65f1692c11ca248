"""
Take one guard at a time out of vfio-pci's TDI, to see which test fails: run in the
composed tree, build `debug`, and write the number of a guard into
/sys/module/vfio_pci_core/parameters/tdi_mut before vfio_pci_tsm_test and
vfio_pci_tsm_events_test. 0 is all of them.
"""
import re
p='drivers/vfio/pci/vfio_pci_tdi.c'; s=open(p).read()
def sub(a,b,cnt=1):
    global s
    assert s.count(a)>=1, a
    s=s.replace(a,b,cnt)
i=s.index('static enum vfio_pci_tdi_state vfio_pci_tdi_state(')
s=s[:i]+'static int tdi_mut;\nmodule_param(tdi_mut, int, 0644);\n\n'+s[i:]
sub('if (private && vfio_pci_tdi_state(tdi) != VFIO_PCI_TDI_BOUND)','if (tdi_mut != 1 && private && vfio_pci_tdi_state(tdi) != VFIO_PCI_TDI_BOUND)')
sub('if (!!(range->flags & PCI_TDI_RANGE_PRIVATE) != private)','if (tdi_mut != 2 && !!(range->flags & PCI_TDI_RANGE_PRIVATE) != private)')
i=s.index('int vfio_pci_tdi_check_io('); j=s.index('if (!vfio_pci_tdi_busy(vdev))\n\t\treturn 0;',i)
s=s[:j]+'if (tdi_mut == 3)\n\t\treturn 0;\n\n\t'+s[j:]
i=s.index('static int vfio_pci_tdi_shut_gate('); j=s.index('vfio_pci_zap_bars(vdev);\n\t\tvfio_pci_dma_buf_move(vdev);',i)
s=s[:j]+'if (tdi_mut != 4)\n\t\t\tvfio_pci_zap_bars(vdev);\n\t\tif (tdi_mut != 5)\n\t\t\tvfio_pci_dma_buf_move(vdev);'+s[j+len('vfio_pci_zap_bars(vdev);\n\t\tvfio_pci_dma_buf_move(vdev);'):]
i=s.index('int vfio_pci_tdi_check_config('); j=s.index('\tif (!vfio_pci_tdi_reset_busy(vdev))',i)
s=s[:j]+'\tif (tdi_mut == 6)\n\t\treturn 0;\n\n'+s[j:]
i=s.index('void vfio_pci_tdi_close('); j=s.index('__vfio_pci_tdi_unbind(tdi);',i)
s=s[:j]+'if (tdi_mut != 7)\n\t\t\t'+s[j:]
sub('tdi->user != user)','tdi->user != user && tdi_mut != 8)')
i=s.index('int vfio_pci_tdi_hold_reset('); j=s.index('if (!vfio_pci_tdi_reset_busy(vdev) &&',i)
s=s[:j]+'if (tdi_mut == 9)\n\t\treturn 0;\n\n\t'+s[j:]
i=s.index('int vfio_pci_tdi_hold_unbound('); j=s.index('if (!vfio_pci_tdi_busy(vdev))',i)
s=s[:j]+'if (tdi_mut == 10)\n\t\treturn 0;\n\n\t'+s[j:]
i=s.index('static void vfio_pci_tdi_signal('); j=s.index('{\n',i)+2
s=s[:j]+'\tif (tdi_mut == 11)\n\t\treturn;\n'+s[j:]
i=s.index('static void __vfio_pci_tdi_unbind('); j=s.index('pci_tsm_stop(vdev->pdev',i)
s=s[:j]+'if (tdi_mut != 12)\n\t\t'+s[j:]
j=s.index('vfio_pci_dma_buf_move(vdev);',s.index('VFIO_PCI_TDI_UNBINDING);',i))
s=s[:j]+'if (tdi_mut != 13)\n\t\t\t'+s[j:]
sub("vdev->sriov_active)\n\t\tret = -EBUSY;","(vdev->sriov_active && tdi_mut != 15))\n\t\tret = -EBUSY;")
sub("!__vfio_pci_memory_enabled(vdev))","(!__vfio_pci_memory_enabled(vdev) && tdi_mut != 16))")
i=s.index('static bool vfio_pci_tdi_begin_reset('); j=s.index('return vfio_pci_tdi_reset_busy(vdev);',i)
s=s[:j]+'if (tdi_mut == 14)\n\t\treturn false;\n\n\t'+s[j:]
if '#include <linux/moduleparam.h>' not in s: s=s.replace('#include <linux/pci','#include <linux/moduleparam.h>\n#include <linux/pci',1)
open(p,'w').write(s)
