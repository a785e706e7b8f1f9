"""Results as pictures: found frames as a contact sheet or a page, counts over time as a chart."""
