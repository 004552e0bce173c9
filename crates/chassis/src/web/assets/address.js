// Removes the choice of a language from the address; a cookie keeps it.

export function removeLanguageFromAddress() {
  const here = new URL(location.href);
  if (!here.searchParams.has('lang')) return;
  here.searchParams.delete('lang');
  history.replaceState(null, '', here);
}
