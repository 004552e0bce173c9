// The search field: shows the order without a reload, and the keys `/` and Esc.

import { $ } from './dom.js';
import { show } from './page.js';
import { orderPath } from './paths.js';

addEventListener('submit', (event) => {
  const form = event.target;
  if (!form.matches('.find')) return;
  event.preventDefault();
  const uid = form.elements.uid.value.trim();
  if (uid) show(new URL(orderPath(uid), location.href));
});

addEventListener('keydown', (event) => {
  const input = $('.find input');
  if (!input || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = Boolean(event.target.closest('input, textarea, select'));
  if (event.key === '/' && !isTyping) {
    event.preventDefault();
    input.focus();
    input.select();
  } else if (event.key === 'Escape' && (event.target === input || !isTyping)) {
    input.value = '';
    input.focus();
  }
});
