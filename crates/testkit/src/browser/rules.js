() => {
  // Contrast of text at least 4.5:1, targets of 24 px and more, nothing wider than the window.
  const wrong = [];
  const name = (one) => one.cloneNode(false).outerHTML.slice(0, 120);
  const visible = (one) => one.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && one.getBoundingClientRect().width > 1;

  // Colours as the browser resolves them, as red, green, blue and opacity.
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((part, at) => part * a + under[at] * (1 - a));
  const behind = (one) => (one
    ? over(parse(getComputedStyle(one).backgroundColor), behind(one.parentElement))
    : [255, 255, 255]);
  const luminance = (colour) => colour
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const contrast = (one, two) => {
    const [light, dark] = [luminance(one), luminance(two)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const check = (one, pseudo) => {
    const paper = behind(one);
    const ink = over(parse(getComputedStyle(one, pseudo).color), paper);
    const ratio = contrast(ink, paper);
    if (ratio < 4.5) wrong.push(`contrast ${ratio.toFixed(2)}: ${name(one)} ${pseudo ?? ''}`);
  };

  const hasText = (one) => [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  for (const one of document.body.querySelectorAll('*')) {
    if (!visible(one) || one.disabled || one.closest('svg')) continue;
    if (hasText(one) || one.value) check(one);
    if (one.placeholder) check(one, '::placeholder');
    for (const pseudo of ['::before', '::after']) {
      const { content } = getComputedStyle(one, pseudo);
      if (!['none', 'normal', '""'].includes(content)) check(one, pseudo);
    }
  }

  for (const one of document.querySelectorAll('a[href], button, input, select, textarea, summary')) {
    if (!visible(one) || (one.matches('a') && hasText(one.parentElement))) continue;
    const { width, height } = one.getBoundingClientRect();
    if (Math.min(width, height) < 24) wrong.push(`a target of ${width} x ${height}: ${name(one)}`);
  }

  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) {
    const wide = [...document.body.querySelectorAll('*')]
      .find((one) => one.getBoundingClientRect().right > clientWidth + 1 && !one.closest('.scroll *'));
    wrong.push(`${scrollWidth} px wide in a window of ${clientWidth}: ${wide ? name(wide) : ''}`);
  }

  const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  const twice = ids.filter((id, at) => ids.indexOf(id) !== at);
  if (twice.length) wrong.push(`ids used twice: ${twice}`);
  if (!document.documentElement.lang) wrong.push('no language');
  if (document.querySelectorAll('h1').length !== 1) wrong.push('not exactly one h1');
  if (!document.title) wrong.push('no title');
  return wrong;
}
